//! What a broker reports on its admin port at [`PATH`]: the contract between a broker and the operator that reads it.
//!
//! Both may have different versions during an upgrade, so the contract only grows: fields are added and never renamed, removed or given
//! another meaning. A reader ignores fields that it does not know. A field that is added later is optional, because an older broker
//! does not send it. A broker without the endpoint answers `404`, which means that nothing is known about it.

mod delivery;

pub use delivery::{DeliveryProblem, DeliveryReason, DeliveryReport};

use serde::{Deserialize, Serialize};

use crate::conditions::reasons;

/// Path of the endpoint on the admin port. `GET` answers with a [`BrokerStatus`] as JSON.
pub const PATH: &str = "/state";

/// The state of a broker process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// Version of the broker (semantic versioning).
    pub version: String,
    /// Open streams of clients, of all channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u64>,
    /// Streams that were closed for balance since the broker started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shed: Option<u64>,
    /// Processor time that the broker has used since it started, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_milliseconds: Option<u64>,
    /// The id of the last [`Order`](crate::orders::Order) that the broker has followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// The channels of its configuration, ordered by name.
    pub channels: Vec<ChannelReport>,
    /// Files of `channelsFolder`, or entries without a name in them, that cannot be used, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// What is wrong with the certificate of the public listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<AccessProblem>,
    /// What is wrong with the certificate authorities of clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_authorities: Option<AccessProblem>,
}

/// The state of one channel in a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelReport {
    /// `<namespace>/<name>`.
    pub channel: String,
    /// Open streams.
    pub subscribers: u64,
    /// Of these, the streams that read old events and have not reached the head of the log.
    pub catching_up: u64,
    /// Whether the broker follows the head of the log, or will once somebody reads it.
    pub live: bool,
    /// The [`generation`](crate::config::ChannelConfig::generation) of the configuration in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Why the newest configuration of the channel cannot be used, for people. The last valid one stays in use; if there was none, the channel is
    /// not served, and `live` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What is wrong with the channel's credentials and keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<AccessProblem>,
    /// Whether events reach clients through their URL. Absent until the broker has checked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryReport>,
}

/// A problem of keys, certificates or rights that keeps credentials from being judged, or soon will.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessProblem {
    /// What has the problem: `issuer https://login.example.com/`, `api keys`, `certificate`, `kubernetes`.
    pub what: String,
    /// The kind of problem.
    pub reason: AccessReason,
    /// Details for people, without anything secret: a host and a class of error, a file name, a date.
    pub detail: String,
}

/// Kinds of problems of credentials. They are reasons of the condition `AccessReady` and labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AccessReason {
    /// A file that a Secret should provide is missing.
    SecretMissing,
    /// Keys cannot be parsed, or none of them can be used.
    KeysInvalid,
    /// Keys were never loaded from their URL.
    KeysUnreachable,
    /// Keys were loaded, but not for 15 minutes. The last ones are used for 24 hours.
    KeysStale,
    /// The API server does not let the broker review tokens or access.
    NoReviewRights,
    /// The certificate cannot be used: the last good one stays.
    CertificateInvalid,
    /// The certificate expires within 14 days.
    CertificateExpiring,
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

impl AccessReason {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::SecretMissing,
        Self::KeysInvalid,
        Self::KeysUnreachable,
        Self::KeysStale,
        Self::NoReviewRights,
        Self::CertificateInvalid,
        Self::CertificateExpiring,
        Self::Unknown,
    ];

    /// The reason as conditions and metrics show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SecretMissing => reasons::SECRET_MISSING,
            Self::KeysInvalid => reasons::KEYS_INVALID,
            Self::KeysUnreachable => reasons::KEYS_UNREACHABLE,
            Self::KeysStale => reasons::KEYS_STALE,
            Self::NoReviewRights => reasons::NO_REVIEW_RIGHTS,
            Self::CertificateInvalid => reasons::CERTIFICATE_INVALID,
            Self::CertificateExpiring => reasons::CERTIFICATE_EXPIRING,
            Self::Unknown => reasons::OTHER_PROBLEM,
        }
    }
}

impl BrokerStatus {
    /// The report about `channel`, `<namespace>/<name>`.
    #[must_use]
    pub fn channel(&self, channel: &str) -> Option<&ChannelReport> {
        self.channels.iter().find(|report| report.channel == channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_stays_as_it_is() {
        let report = ChannelReport {
            channel: "shop/orders".into(),
            subscribers: 3,
            catching_up: 1,
            live: true,
            ..ChannelReport::default()
        };
        let channels = vec![report];
        let status = BrokerStatus { version: "1.2.3".into(), channels, ..BrokerStatus::default() };
        let text = r#"{"version":"1.2.3","channels":[{"channel":"shop/orders","subscribers":3,"catchingUp":1,"live":true}]}"#;
        assert_eq!(serde_json::to_string(&status).unwrap(), text);
    }

    #[test]
    fn a_reader_ignores_fields_of_newer_brokers() {
        let text = r#"{"version":"9.0.0","future":{},"channels":[
            {"channel":"shop/orders","subscribers":3,"catchingUp":0,"live":true,"future":[]}]}"#;
        let status: BrokerStatus = serde_json::from_str(text).unwrap();
        assert_eq!(status.channel("shop/orders").map(|report| report.subscribers), Some(3));
        assert_eq!(status.channel("shop/others"), None);
    }

    #[test]
    fn every_reason_about_access_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> =
            AccessReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), AccessReason::ALL.len());
        assert!(names.contains("KeysUnreachable"), "{names:?}");
    }
}
