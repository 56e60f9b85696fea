//! The abuse protection handshake of CloudEvents webhooks (CloudEvents, HTTP webhook, section 4). Azure Event Grid and others send
//! no events before it succeeds.

use eventcast_crds::config::{Action, ChannelConfig};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::Answer;
use crate::access::Grant;

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Grants a validation request, if `request` is one and anonymous clients may publish to the channel. A response without these headers is
/// a refusal: the specification defines no status for either.
pub(super) fn grant(config: &ChannelConfig, request: &HeaderMap, response: &mut Response<Answer>) {
    let Some(origin) = request.get(REQUEST_ORIGIN) else { return };
    let publishing = &config.publishing;
    if !publishing.enabled || !Grant::anonymous(&config.access).allows(Action::Publish) {
        return;
    }
    // The header is in requests per minute. The limit of the channel is in events per second, and a request has at least one.
    let rate = match publishing.max_events_per_second {
        0 => HeaderValue::from_static("*"),
        events => HeaderValue::from(u64::from(events) * 60),
    };
    *response.status_mut() = StatusCode::OK; // required by Event Grid
    response.headers_mut().insert(ALLOWED_ORIGIN, origin.clone());
    response.headers_mut().insert(ALLOWED_RATE, rate);
}
