//! The kinds of problems, one line each. `docs/openapi.yaml` lists the same.

use http::StatusCode;

/// A kind of problem. Clients compare its name, so it never changes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) status: StatusCode,
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
}

macro_rules! kinds {
    ($($kind:ident = $status:ident, $name:literal, $title:literal;)*) => {
        impl Kind {
            $(pub(crate) const $kind: &'static Self =
                &Self { status: StatusCode::$status, name: $name, title: $title };)*
            #[cfg(test)]
            pub(crate) const ALL: &[&'static Self] = &[$(Self::$kind),*];
        }
    };
}

kinds! {
    INVALID = BAD_REQUEST, "bad-request", "Invalid request";
    HTTPS_REQUIRED = BAD_REQUEST, "https-required", "HTTPS required";
    CREDENTIAL_REQUIRED = UNAUTHORIZED, "credential-required", "Credential required";
    INVALID_CREDENTIAL = UNAUTHORIZED, "invalid-credential", "Credential not accepted";
    ANOTHER_CLIENT = FORBIDDEN, "another-client", "Belongs to another client";
    NOT_GRANTED = FORBIDDEN, "not-granted", "Not granted";
    ORIGIN_NOT_ALLOWED = FORBIDDEN, "origin-not-allowed", "Origin not allowed";
    PUBLISHING_DISABLED = FORBIDDEN, "publishing-disabled", "Publishing disabled";
    TICKETS_DISABLED = FORBIDDEN, "tickets-disabled", "Tickets disabled";
    NO_SUCH_CHANNEL = NOT_FOUND, "no-such-channel", "Channel not found";
    NO_SUCH_EVENT = NOT_FOUND, "no-such-event", "Event not found";
    NO_SUCH_RESOURCE = NOT_FOUND, "no-such-resource", "Not found";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed";
    NOT_ACCEPTABLE = NOT_ACCEPTABLE, "not-acceptable", "Not acceptable";
    BODY_TIMEOUT = REQUEST_TIMEOUT, "body-timeout", "Request timeout";
    HEAD_TIMEOUT = REQUEST_TIMEOUT, "head-timeout", "Request timeout";
    ERASURE_REFUSED = CONFLICT, "erasure-refused", "Erasure refused";
    TOO_LARGE = PAYLOAD_TOO_LARGE, "too-large", "Request too large";
    TARGET_TOO_LONG = URI_TOO_LONG, "target-too-long", "Request target too long";
    CONTENT_ENCODING = UNSUPPORTED_MEDIA_TYPE, "content-encoding", "Unsupported content encoding";
    MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE, "media-type", "Unsupported media type";
    HOST_NOT_ALLOWED = MISDIRECTED_REQUEST, "host-not-allowed", "Host not allowed";
    NO_TTL = UNPROCESSABLE_ENTITY, "no-ttl", "Not stored";
    QUOTA = TOO_MANY_REQUESTS, "quota", "Quota exceeded";
    THROTTLED = TOO_MANY_REQUESTS, "throttled", "Not stored";
    TOO_FAST = TOO_MANY_REQUESTS, "too-fast", "Rate limit exceeded";
    TOO_MANY_REFUSALS = TOO_MANY_REQUESTS, "too-many-refusals", "Too many refused credentials";
    HEAD_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "Request headers too large";
    REFUSED = BAD_GATEWAY, "refused", "Not stored";
    BUSY = SERVICE_UNAVAILABLE, "busy", "Temporarily unavailable";
    MOVING = SERVICE_UNAVAILABLE, "moving", "Temporarily unavailable";
    NO_STREAM = SERVICE_UNAVAILABLE, "no-stream", "Not stored";
    TOO_MANY_CONNECTIONS = SERVICE_UNAVAILABLE, "too-many-connections", "Temporarily unavailable";
    UNAVAILABLE = SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable";
    STREAM_DRAINING = SERVICE_UNAVAILABLE, "draining", "Temporarily unavailable";
    STREAM_OVERLOADED = SERVICE_UNAVAILABLE, "overloaded", "Temporarily unavailable";
    STREAM_QUOTA = SERVICE_UNAVAILABLE, "quota", "Quota exceeded";
    OUTCOME_UNKNOWN = GATEWAY_TIMEOUT, "outcome-unknown", "Outcome unknown";
    STORAGE_FULL = INSUFFICIENT_STORAGE, "storage-full", "Not stored";
}
