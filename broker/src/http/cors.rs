//! Which pages may read an answer (Fetch, section 3.2), on every answer, refusals included.

use eventcast_crds::config::{Access, Authority, Origin};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};

use super::{Answer, empty, problem::Problem};
use crate::access::allowed_origin;

const METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";
/// What a page may send to any channel: our own headers, those of CloudEvents by prefix (see [`allow_headers`]), and those that
/// tracing libraries put on every request (W3C Trace Context and Baggage, B3, Sentry).
const ALLOW_HEADERS: &str = "accept, authorization, cache-control, content-type, last-event-id, prefer, x-requested-with, \
    idempotency-key, eventcast-topic, eventcast-type, eventcast-source, eventcast-ttl, \
    ce-id, ce-source, ce-type, ce-specversion, ce-subject, ce-time, ce-dataschema, ce-topic, \
    traceparent, tracestate, baggage, b3, sentry-trace";
const EXPOSE_HEADERS: &str = "eventcast-cursor, eventcast-gap, link, retry-after";
/// Bytes of `Access-Control-Request-Headers` that are looked at.
const MAX_REQUEST_HEADERS_BYTES: usize = 4096;

/// Adds what `origin` must see to read `response`.
pub(crate) fn apply(
    access: &Access,
    origin: Option<&HeaderValue>,
    response: &mut Response<Answer>,
) {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin.and_then(|o| o.to_str().ok()) else {
        return;
    };
    let Some(allowed) = allowed_origin(access, origin) else {
        return;
    };
    let Ok(allowed) = HeaderValue::from_str(allowed) else {
        return;
    };
    let set = HeaderValue::from_static;
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, set(EXPOSE_HEADERS));
    if access.allow_credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, set("true"));
    }
}

/// The answer to `OPTIONS`: what may be asked here, and for a preflight what a page may send.
pub(crate) fn options(access: &Access, headers: &HeaderMap) -> Response<Answer> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let out = response.headers_mut();
    let set = HeaderValue::from_static;
    out.insert(header::ALLOW, set(METHODS));
    if headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, set(METHODS));
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allow_headers(access, headers));
        out.insert(header::ACCESS_CONTROL_MAX_AGE, set("600"));
    }
    response
}

/// What a page may send: the fixed list, the channel's own, and those of CloudEvents that it asks for, because anybody may invent
/// extension attributes.
fn allow_headers(access: &Access, headers: &HeaderMap) -> HeaderValue {
    let asked = headers
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .filter(|asked| asked.len() <= MAX_REQUEST_HEADERS_BYTES)
        .and_then(|asked| asked.to_str().ok())
        .unwrap_or_default();
    let extensions = asked.split(',').map(str::trim).filter(|name| {
        name.get(..3).is_some_and(|prefix| prefix.eq_ignore_ascii_case("ce-"))
            && HeaderName::from_bytes(name.as_bytes()).is_ok()
    });
    let own = access.allowed_headers.iter().map(String::as_str);
    let names: Vec<_> = [ALLOW_HEADERS].into_iter().chain(own).chain(extensions).collect();
    HeaderValue::try_from(names.join(", "))
        .unwrap_or_else(|_| HeaderValue::from_static(ALLOW_HEADERS))
}

/// Refuses a request that changes something if a page of a foreign origin makes it: a browser sends simple `POST`s without
/// asking first, so not letting the page read the answer would be too late.
pub(crate) fn refuse_foreign<B>(access: &Access, request: &Request<B>) -> Result<(), Problem> {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return Ok(());
    };
    if request.method().is_safe() {
        return Ok(());
    }
    let origin = origin.to_str().unwrap_or_default();
    if is_own(request, origin) || allowed_origin(access, origin).is_some() {
        return Ok(());
    }
    let detail = "Pages of this origin may not change anything here: list it in access.allowedOrigins of the channel.";
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "origin-not-allowed",
        "The origin is not allowed",
        detail,
    )
    .with("field", "Origin")
    .close())
}

/// Whether the page came from this very server. A browser says so itself (Fetch Metadata), which no page can forge and no proxy
/// spoils by changing `Host`; else the origin must be the host that was asked. `X-Forwarded-*` is what anybody may write.
fn is_own<B>(request: &Request<B>, origin: &str) -> bool {
    if request.headers().get("sec-fetch-site").is_some_and(|site| site == "same-origin") {
        return true;
    }
    let (origin, host) = (origin.to_ascii_lowercase(), super::host(request).to_ascii_lowercase());
    match (Origin::parse(&origin), Authority::parse(&host)) {
        (Some(origin), Some(host)) => origin.is_served_by(&host),
        _ => false,
    }
}
