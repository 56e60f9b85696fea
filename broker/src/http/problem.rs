//! Refusals: `application/problem+json` (RFC 9457). The one place where an error becomes an answer.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Answer, full};

/// A refusal that says what to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: String,
    more: Map<String, Value>,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    challenge: bool,
    close: bool,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into();
        Self {
            status,
            name,
            title,
            detail,
            more: Map::new(),
            retry_after: None,
            allow: None,
            challenge: false,
            close: false,
        }
    }

    /// The request breaks a rule in `field`.
    pub(crate) fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "A part of the request cannot be used",
            detail,
        )
        .with("field", field)
    }

    pub(crate) fn with(mut self, key: &str, value: impl Serialize) -> Self {
        self.more.insert(key.into(), serde_json::to_value(value).unwrap_or_default());
        self
    }

    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self.with("retry_after", wait.as_secs().max(1))
    }

    pub(crate) fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Says that a token would help (RFC 9110, section 11.6.1: a `401` must).
    pub(crate) fn challenge(mut self) -> Self {
        self.challenge = true;
        self
    }

    /// The connection cannot go on: a part of the request was not read, or cannot be trusted.
    pub(crate) fn close(mut self) -> Self {
        self.close = true;
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn into_response(self) -> Response<Answer> {
        self.into_text().map(full)
    }

    /// The answer with its body as text.
    pub(crate) fn into_text(self) -> Response<String> {
        let mut body = self.more;
        body.insert("type".into(), format!("urn:eventcast:problem:{}", self.name).into());
        body.insert("title".into(), self.title.into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("detail".into(), self.detail.into());
        let mut response = Response::new(Value::Object(body).to_string() + "\n");
        *response.status_mut() = self.status;
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
        if self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, set("Bearer"));
        }
        if self.close {
            headers.insert(header::CONNECTION, set("close"));
        }
        response
    }
}
