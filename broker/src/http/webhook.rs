//! The handshake by which a sender of CloudEvents asks whether its events are wanted (CloudEvents, HTTP webhook, section 4):
//! Azure Event Grid and others send nothing before it is answered.

use eventcast_crds::config::{Action, ChannelConfig};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::Answer;
use crate::access::permits;

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Grants the request of a sender, if `request` is one and the channel takes events from everybody. A refusal is the answer
/// without these headers: the specification gives no status to either.
pub(super) fn grant(config: &ChannelConfig, request: &HeaderMap, response: &mut Response<Answer>) {
    let Some(origin) = request.get(REQUEST_ORIGIN) else { return };
    let publishing = &config.publishing;
    if !publishing.enabled || !permits(&config.access, Action::Publish) {
        return;
    }
    // In requests a minute; the channel's limit is in events a second, and a request has at least one.
    let rate = match publishing.max_events_per_second {
        0 => HeaderValue::from_static("*"),
        events => HeaderValue::from(u64::from(events) * 60),
    };
    *response.status_mut() = StatusCode::OK; // what Event Grid's documentation asks for
    response.headers_mut().insert(ALLOWED_ORIGIN, origin.clone());
    response.headers_mut().insert(ALLOWED_RATE, rate);
}
