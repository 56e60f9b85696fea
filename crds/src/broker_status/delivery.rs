//! What a broker has found when it subscribed through the URL of clients.

use serde::{Deserialize, Serialize};

use crate::conditions::reasons;

/// The result of the last delivery probe of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryReport {
    /// The URL that was probed.
    pub url: String,
    /// The version of HTTP that was spoken, such as `HTTP/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_version: Option<String>,
    /// Milliseconds from the request to the first byte of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// Milliseconds from the publication of an event to its arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// What keeps events from clients, the worst first. Empty if all is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<DeliveryProblem>,
}

/// Something between brokers and clients that hinders streams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryProblem {
    /// The kind of problem.
    pub reason: DeliveryReason,
    /// What was seen and what to do, for people.
    pub detail: String,
}

/// Kinds of problems between brokers and clients, the worst first. They are reasons of the condition `DeliveryVerified` and labels of a
/// metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeliveryReason {
    /// The name cannot be resolved, or nothing answers there.
    Unreachable,
    /// The certificate is not valid for the host, or has expired.
    CertificateInvalid,
    /// Something else than the channel answers: another status, a redirect, a page.
    UnexpectedAnswer,
    /// Events are held back.
    Buffered,
    /// The stream is compressed.
    Compressed,
    /// The stream is ended while no event is sent.
    IdleTimeout,
    /// The stream is ended although something is sent.
    TimeLimit,
    /// Bodies that the channel accepts are rejected.
    BodyTooLarge,
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

impl DeliveryReason {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::CertificateInvalid,
        Self::UnexpectedAnswer,
        Self::Buffered,
        Self::Compressed,
        Self::IdleTimeout,
        Self::TimeLimit,
        Self::BodyTooLarge,
        Self::Unknown,
    ];

    /// The reason as conditions and metrics show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => reasons::DELIVERY_UNREACHABLE,
            Self::CertificateInvalid => reasons::DELIVERY_CERTIFICATE_INVALID,
            Self::UnexpectedAnswer => reasons::UNEXPECTED_ANSWER,
            Self::Buffered => reasons::BUFFERED,
            Self::Compressed => reasons::COMPRESSED,
            Self::IdleTimeout => reasons::IDLE_TIMEOUT,
            Self::TimeLimit => reasons::TIME_LIMIT,
            Self::BodyTooLarge => reasons::BODY_TOO_LARGE,
            Self::Unknown => reasons::OTHER_PROBLEM,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_stays_as_it_is() {
        let report = DeliveryReport {
            url: "https://a.example/x".into(),
            http_version: Some("HTTP/2".into()),
            first_byte_ms: Some(12),
            delay_ms: Some(3),
            problems: vec![DeliveryProblem {
                reason: DeliveryReason::Buffered,
                detail: "d".into(),
            }],
        };
        let text = r#"{"url":"https://a.example/x","httpVersion":"HTTP/2","firstByteMs":12,"delayMs":3,"problems":[{"reason":"Buffered","detail":"d"}]}"#;
        assert_eq!(serde_json::to_string(&report).unwrap(), text);
        let newer = r#"{"url":"u","problems":[{"reason":"Haunted","detail":"d"}]}"#;
        let report: DeliveryReport = serde_json::from_str(newer).unwrap();
        assert_eq!(report.problems[0].reason, DeliveryReason::Unknown);
    }

    #[test]
    fn a_reason_is_written_as_it_is_serialized() {
        for reason in DeliveryReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
