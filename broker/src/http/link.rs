//! The `Link` header (RFC 8288) that leads to the next page of an answer.

use http::{HeaderValue, Response, header, request::Parts};

use super::Answer;

/// Adds a link to the next page: the URL of the request, with `parameter` set to `next`.
pub(super) fn add_next(
    response: &mut Response<Answer>,
    request: &Parts,
    parameter: &str,
    next: &str,
) {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes())
    {
        // A ticket must not be copied into a link, which may be logged or kept.
        if name != parameter && name != "ticket" {
            query.append_pair(&name, &value);
        }
    }
    query.append_pair(parameter, next);
    let link = format!("<{}?{}>; rel=\"next\"", request.uri.path(), query.finish());
    if let Ok(link) = HeaderValue::from_str(&link) {
        response.headers_mut().insert(header::LINK, link);
    }
}
