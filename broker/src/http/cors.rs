//! CORS headers (Fetch, section 3.2), on every response including errors.

use eventcast_crds::config::{Access, Authority, Origin};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};

use super::{
    Answer, empty,
    problem::{Kind, Problem},
};
use crate::access::allowed_origin;

/// Headers that a page may send to any channel: those of Eventcast and CloudEvents, and those that tracing libraries add to every
/// request (W3C Trace Context and Baggage, B3, Sentry).
const ALLOW_HEADERS: &str = "accept, authorization, cache-control, content-type, last-event-id, prefer, x-requested-with, \
    idempotency-key, eventcast-topic, eventcast-type, eventcast-source, eventcast-ttl, \
    ce-id, ce-source, ce-type, ce-specversion, ce-subject, ce-time, ce-dataschema, ce-topic, \
    traceparent, tracestate, baggage, b3, sentry-trace";
const EXPOSE_HEADERS: &str =
    "eventcast-cursor, eventcast-gap, eventcast-topics, link, retry-after, www-authenticate";
/// Bytes of `Access-Control-Request-Headers` that are read.
const MAX_REQUEST_HEADERS_BYTES: usize = 4096;

/// Adds the headers that let a page of `origin` read `response`.
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

/// The response to `OPTIONS`: the `methods` of the resource, and for a preflight also the allowed headers.
pub(crate) fn options(
    access: &Access,
    headers: &HeaderMap,
    methods: &'static str,
) -> Response<Answer> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let out = response.headers_mut();
    let set = HeaderValue::from_static;
    out.insert(header::ALLOW, set(methods));
    if headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, set(methods));
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allow_headers(access, headers));
        out.insert(header::ACCESS_CONTROL_MAX_AGE, set("600"));
    }
    response
}

/// The headers that a page may send: the fixed list, those of the channel's configuration, and the requested headers of
/// CloudEvents, whose extension attributes are not known in advance.
fn allow_headers(access: &Access, headers: &HeaderMap) -> HeaderValue {
    let requested = headers
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .filter(|requested| requested.len() <= MAX_REQUEST_HEADERS_BYTES)
        .and_then(|requested| requested.to_str().ok())
        .unwrap_or_default();
    let extensions = requested.split(',').map(str::trim).filter(|name| {
        name.get(..3).is_some_and(|prefix| prefix.eq_ignore_ascii_case("ce-"))
            && HeaderName::from_bytes(name.as_bytes()).is_ok()
    });
    let own = access.allowed_headers.iter().map(String::as_str);
    let names: Vec<_> = [ALLOW_HEADERS].into_iter().chain(own).chain(extensions).collect();
    HeaderValue::try_from(names.join(", "))
        .unwrap_or_else(|_| HeaderValue::from_static(ALLOW_HEADERS))
}

/// Rejects an unsafe request from a page whose origin is not allowed. A browser sends simple `POST`s without a preflight, so hiding
/// the response from the page would be too late.
pub(crate) fn reject_foreign<B>(access: &Access, request: &Request<B>) -> Result<(), Problem> {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return Ok(());
    };
    if request.method().is_safe() {
        return Ok(());
    }
    let origin = origin.to_str().unwrap_or_default();
    if is_own(request.uri(), request.headers(), origin) || allowed_origin(access, origin).is_some()
    {
        return Ok(());
    }
    let detail = "Pages of this origin may not publish or erase. Add the origin to access.allowedOrigins of the channel.";
    Err(Problem::new(Kind::ORIGIN_NOT_ALLOWED, detail).with("field", "Origin").close())
}

/// Whether the page came from this server. Browsers say so with `Sec-Fetch-Site` (Fetch Metadata), which a page cannot forge, and
/// which is right even if a proxy changes `Host`. Otherwise the origin must match the requested host. `X-Forwarded-*` is not trusted.
pub(super) fn is_own(uri: &Uri, headers: &HeaderMap, origin: &str) -> bool {
    if headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin") {
        return true;
    }
    let (origin, host) =
        (origin.to_ascii_lowercase(), super::host(uri, headers).to_ascii_lowercase());
    match (Origin::parse(&origin), Authority::parse(&host)) {
        (Some(origin), Some(host)) => origin.is_served_by(&host),
        _ => false,
    }
}
