//! Which pages may read an answer (Fetch, section 3.2), on every answer, refusals included.

use eventcast_crds::config::Access;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use super::{Answer, empty, problem::Problem};
use crate::access::allowed_origin;

const METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";
const ALLOW_HEADERS: &str = "authorization, cache-control, content-type, last-event-id, x-requested-with, \
    idempotency-key, eventcast-topic, eventcast-type, eventcast-source, eventcast-ttl, \
    ce-id, ce-source, ce-type, ce-specversion, ce-subject, ce-time, ce-dataschema, ce-topic";
const EXPOSE_HEADERS: &str = "eventcast-gap, link, retry-after";

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
pub(crate) fn options(headers: &HeaderMap) -> Response<Answer> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let out = response.headers_mut();
    let set = HeaderValue::from_static;
    out.insert(header::ALLOW, set(METHODS));
    if headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, set(METHODS));
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, set(ALLOW_HEADERS));
        out.insert(header::ACCESS_CONTROL_MAX_AGE, set("600"));
    }
    response
}

/// Refuses a request that changes something if a page of a foreign origin makes it: a browser sends simple `POST`s without
/// asking first, so not letting the page read the answer would be too late.
pub(crate) fn refuse_foreign<B>(access: &Access, request: &Request<B>) -> Result<(), Problem> {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return Ok(());
    };
    if request.method() != Method::POST && request.method() != Method::DELETE {
        return Ok(());
    }
    let origin = origin.to_str().unwrap_or_default();
    let own =
        origin.split_once("://").is_some_and(|(_, authority)| authority == super::host(request));
    if own || allowed_origin(access, origin).is_some() {
        return Ok(());
    }
    let detail = "Pages of this origin may not publish here: list it in access.allowedOrigins of the channel.";
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "origin-not-allowed",
        "The origin is not allowed",
        detail,
    )
    .with("field", "Origin"))
}
