//! Refusals: the problem details of a broker (RFC 9457), or the answer of something else. Pure.

use std::{fmt, time::Duration};

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use crate::{
    credential,
    printable::{counted, printable},
};

/// Characters of an answer that is no problem.
const SHOWN_CHARACTERS: usize = 200;

/// What a broker says of a refusal. Members that a newer broker adds are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Details {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
    /// The check that a credential failed.
    check: Option<String>,
    /// The line of a batch, from 1.
    pub(crate) line: Option<u64>,
    retry_after: Option<u64>,
    /// Events of a batch that are stored.
    #[serde(default)]
    events: Vec<serde_json::Value>,
}

/// An answer that is not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// What the broker says; `None` if no broker has answered.
    pub(crate) details: Option<Details>,
    content_type: String,
    location: Option<String>,
    body: String,
    retry_after: Option<Duration>,
    sent_credential: bool,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = text(header::CONTENT_TYPE).unwrap_or_default().to_owned();
        let is_problem = content_type.starts_with("application/problem+json");
        let details = is_problem.then(|| serde_json::from_slice::<Details>(body).ok()).flatten();
        let of_details = details.as_ref().and_then(|details| details.retry_after);
        let seconds =
            of_details.or_else(|| text(header::RETRY_AFTER).and_then(|value| value.parse().ok()));
        let body = String::from_utf8_lossy(&body[..body.len().min(SHOWN_CHARACTERS * 4)]);
        Self {
            status,
            details,
            content_type,
            location: text(header::LOCATION).map(str::to_owned),
            body: body.chars().take(SHOWN_CHARACTERS).collect(),
            retry_after: seconds.map(Duration::from_secs),
            sent_credential: false,
        }
    }

    /// The same, of a request with a credential.
    pub(crate) fn of_credential(self) -> Self {
        Self { sent_credential: true, ..self }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
    }

    /// How long the answer asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The name of the problem: what follows `urn:eventcast:problem:`.
    fn name(&self) -> &str {
        let kind = self.details.as_ref().map_or("", |details| details.kind.as_str());
        kind.rsplit(':').next().unwrap_or_default()
    }

    /// What a user of the command line can do, which the broker cannot know.
    fn advice(&self) -> Option<String> {
        let check = self.details.as_ref().and_then(|details| details.check.as_deref());
        let text = match (self.name(), check) {
            ("credential-required", _) if self.sent_credential => {
                "a credential was sent, and has not arrived: a proxy removes the header Authorization, or needs it for itself".to_owned()
            }
            ("credential-required", _) => format!(
                "pass a token or an API key with --token-file FILE or {}",
                credential::VARIABLE
            ),
            ("invalid-credential", Some("audience" | "issuer")) => {
                "get a token for this channel: access.tokens of the channel names issuer and audience".to_owned()
            }
            ("not-granted", _) => {
                "`GET …/access` shows what the credential grants: docs/ACCESS.md".to_owned()
            }
            ("no-such-channel", _) => {
                "check namespace and name: `kubectl get evch -A` lists the channels".to_owned()
            }
            ("storage-full", _) => {
                "raise retention.maxBytes of the channel, or free storage of NATS: docs/NATS.md".to_owned()
            }
            _ => return None,
        };
        Some(text)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(details) = &self.details else {
            return self.foreign(f);
        };
        write!(f, "{} ({})", printable(&details.title), self.status.as_u16())?;
        if let Some(check) = &details.check {
            write!(f, ", check {}", printable(check))?;
        }
        if let Some(line) = details.line {
            write!(f, ", line {line}")?;
        }
        write!(f, "\n  {}", printable(&details.detail))?;
        if !details.events.is_empty() {
            let stored = counted(details.events.len() as u64, "event");
            write!(f, "\n  stored: {stored} of the batch")?;
        }
        if let Some(wait) = self.retry_after {
            write!(f, "\n  try again in {} s", wait.as_secs())?;
        }
        match self.advice() {
            Some(advice) => write!(f, "\n  {advice}"),
            None => Ok(()),
        }
    }
}

impl Problem {
    /// No broker has answered.
    fn foreign(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.content_type.is_empty() { "no type" } else { &self.content_type };
        write!(f, "unexpected answer: status {}, {}", self.status.as_u16(), printable(kind))?;
        match (&self.location, self.body.trim()) {
            (Some(location), _) => write!(f, ", to {}", printable(location))?,
            (None, "") => {}
            (None, body) => write!(f, "\n  {}", printable(body))?,
        }
        let advice = match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                "a proxy limits the size of request bodies (nginx: client_max_body_size): allow publishing.maxBatchBytes of the channel"
            }
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                "a proxy answers that it reaches no broker: check that brokers run, and the address and port that the proxy has of them"
            }
            _ => {
                "no broker has answered. Check the URL and what is in front of the brokers: requests must reach them with path and query, without a \
                 login page or redirect"
            }
        };
        write!(f, "\n  {advice}")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::text::golden;

    fn problem(status: u16, kind: &'static str, body: &str) -> Problem {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        Problem::new(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn refusals_match_the_golden_file() {
        let of_broker = |status, text: &str| problem(status, "application/problem+json", text);
        let shown = [
            of_broker(
                401,
                r#"{"type":"urn:eventcast:problem:credential-required","title":"Credential required","status":401,"detail":"Send a credential."}"#,
            ),
            of_broker(
                401,
                r#"{"type":"urn:eventcast:problem:credential-required","title":"Credential required","status":401,"detail":"Send a credential."}"#,
            )
            .of_credential(),
            of_broker(
                401,
                r#"{"type":"urn:eventcast:problem:invalid-credential","title":"Invalid credential","status":401,"check":"audience","detail":"The audience is another.","future":{}}"#,
            ),
            of_broker(
                400,
                r#"{"type":"urn:eventcast:problem:bad-request","title":"Invalid request","line":3,"detail":"The line is not an envelope.","events":[{"cursor":"a"}]}"#,
            ),
            of_broker(
                503,
                r#"{"type":"urn:eventcast:problem:unavailable","title":"Temporarily unavailable","retry_after":2,"detail":"Wait."}"#,
            ),
            problem(502, "text/html", "<h1>Bad\u{1b}[31m Gateway</h1>"),
            problem(413, "text/html", "<h1>Too large</h1>"),
            problem(302, "text/html", ""),
        ];
        golden("problems", &shown.map(|problem| format!("{problem}\n")).concat());
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        assert!(problem(503, "text/html", "").is_temporary());
        assert!(!problem(401, "application/problem+json", "{}").is_temporary());
        assert_eq!(problem(503, "text/html", "").retry_after(), Some(Duration::from_secs(7)));
    }
}
