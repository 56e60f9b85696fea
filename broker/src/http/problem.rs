//! Problem details (RFC 9457): every error response of the broker.

mod errors;
mod kind;

use std::{borrow::Cow, time::Duration};

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Answer, full, record::Reason};
pub(crate) use kind::Kind;

/// An error response. Its `detail` says what the client should do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    kind: &'static Kind,
    detail: String,
    more: Map<String, Value>,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    challenge: Option<Challenge>,
    close: bool,
}

/// The value of `WWW-Authenticate` (RFC 6750, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// No credential was presented.
    Bare,
    /// The credential is not valid.
    InvalidToken,
    /// The credential is valid, but does not grant this.
    InsufficientScope,
}

impl Challenge {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "Bearer",
            Self::InvalidToken => "Bearer error=\"invalid_token\"",
            Self::InsufficientScope => "Bearer error=\"insufficient_scope\"",
        }
    }
}

impl Problem {
    pub(crate) fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            more: Map::new(),
            retry_after: None,
            allow: None,
            challenge: None,
            close: false,
        }
    }

    /// `400`: the request breaks a rule in `field`.
    pub(crate) fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::new(Kind::INVALID, detail).with("field", field)
    }

    /// `413`, with the limit that was exceeded, unless only NATS knows it.
    pub(crate) fn too_large(detail: impl Into<String>, limit: Option<usize>) -> Self {
        let problem = Self::new(Kind::TOO_LARGE, detail);
        match limit {
            Some(limit) => problem.with("limit", limit),
            None => problem,
        }
    }

    /// `400`: the body did not arrive as its head announced it.
    pub(crate) fn incomplete_body() -> Self {
        let detail = "The body ended before its Content-Length or its last chunk, or its chunks are malformed.";
        Self::field("body", detail).close()
    }

    /// `403`: publishing over HTTP is disabled, and erasing with it.
    pub(crate) fn publishing_disabled(detail: &'static str) -> Self {
        Self::new(Kind::PUBLISHING_DISABLED, detail)
    }

    /// Adds an extension member to the problem.
    pub(crate) fn with(mut self, key: &str, value: impl Serialize) -> Self {
        self.more.insert(key.into(), serde_json::to_value(value).unwrap_or_default());
        self
    }

    /// Sets `Retry-After` and the member `retry_after`, in seconds, at least 1.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self.with("retry_after", wait.as_secs().max(1))
    }

    /// Sets `Allow`.
    pub(crate) fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Sets `WWW-Authenticate`, which a `401` must have (RFC 9110, section 11.6.1).
    pub(crate) fn challenge(mut self, challenge: Challenge) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Closes the connection after the response, because a part of the request was not read or is not trusted.
    pub(crate) fn close(mut self) -> Self {
        self.close = true;
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.name
    }

    pub(crate) fn into_response(self) -> Response<Answer> {
        self.into_text().map(full)
    }

    /// The response with its body as text, for connections that hyper does not serve.
    pub(crate) fn into_text(self) -> Response<String> {
        let check = self.more.get("check").and_then(Value::as_str).map(ToOwned::to_owned);
        let reason = Reason(check.map_or(Cow::Borrowed(self.kind.name), Cow::Owned));
        let mut body = self.more;
        body.insert("type".into(), format!("urn:eventcast:problem:{}", self.kind.name).into());
        body.insert("title".into(), self.kind.title.into());
        body.insert("status".into(), self.kind.status.as_u16().into());
        body.insert("detail".into(), self.detail.into());
        let mut response = Response::new(Value::Object(body).to_string() + "\n");
        *response.status_mut() = self.kind.status;
        response.extensions_mut().insert(reason);
        let headers = response.headers_mut();
        let set = HeaderValue::from_static;
        headers.insert(header::CONTENT_TYPE, set("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, set("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, set("nosniff"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, set(methods));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, set(challenge.as_str()));
        }
        if self.close {
            headers.insert(header::CONNECTION, set("close"));
        }
        response
    }
}
