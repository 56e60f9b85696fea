//! The messages that brokers share, and their subjects. Pure.
//!
//! | subject after `<prefix>.<namespace>.<name>.` | record | lives |
//! |---|---|---|
//! | `k.<day>` | a key of tickets | 48 hours |
//! | `r.<hash>` | a revocation | as long as a grant may |
//! | `u.<id>` | a renewal | until the grant ends |

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::identity::{Identity, RandomId};

/// How long a key is kept. A ticket lives a day at most.
pub(crate) const KEY_LIFE: Duration = Duration::from_secs(48 * 3600);
/// How long a revocation is kept: credentials that live longer are accepted again after it.
pub(super) const REVOCATION_LIFE: Duration = Duration::from_secs(31 * 86_400);

/// A record of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Key(TicketKey),
    Revocation(Revocation),
    Renewal(Renewal),
}

/// A key that tickets are sealed with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TicketKey {
    /// The day that it was made on, counted from 1970: its id.
    pub(crate) day: u32,
    pub(crate) key: [u8; 32],
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketKey").field("day", &self.day).finish_non_exhaustive()
    }
}

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Revoked {
    /// Every grant of a subject, whoever issued it.
    Subject(String),
    /// A session, or the ticket that it came with.
    Id(RandomId),
}

/// Ends what began, or was issued, before a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Revocation {
    pub(crate) what: Revoked,
    /// Milliseconds since 1970.
    pub(crate) before: i64,
}

/// Moves the end of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Renewal {
    /// The ticket or the session.
    pub(crate) id: RandomId,
    #[serde(flatten)]
    pub(crate) identity: Identity,
    /// When the grant ends now, in seconds since 1970.
    pub(crate) until: i64,
    /// Patterns of the topics that the new grant covers.
    pub(crate) topics: Vec<String>,
    pub(crate) broadcast: bool,
}

#[derive(Serialize, Deserialize)]
struct KeyText {
    key: String,
}

impl Record {
    /// The subject after the channel's prefix.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Key(key) => format!("k.{}", key.day),
            Self::Revocation(revocation) => {
                let text = match &revocation.what {
                    Revoked::Subject(subject) => format!("s {subject}"),
                    Revoked::Id(id) => format!("i {id}"),
                };
                let hash = Sha256::digest(text.as_bytes());
                let hash: String = hash.iter().take(16).map(|b| format!("{b:02x}")).collect();
                format!("r.{hash}")
            }
            Self::Renewal(renewal) => format!("u.{}", renewal.id),
        }
    }

    pub(super) fn payload(&self) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Key(key) => serde_json::to_vec(&KeyText { key: BASE64.encode(key.key) }),
            Self::Revocation(revocation) => serde_json::to_vec(revocation),
            Self::Renewal(renewal) => serde_json::to_vec(renewal),
        }
    }

    /// Reads a record; `None` if it is not one, or is of a kind that this version does not know.
    pub(super) fn parse(subject: &str, payload: &[u8]) -> Option<Self> {
        let (kind, name) = subject.split_once('.')?;
        match kind {
            "k" => {
                let text: KeyText = serde_json::from_slice(payload).ok()?;
                let key = BASE64.decode(text.key).ok()?.try_into().ok()?;
                Some(Self::Key(TicketKey { day: name.parse().ok()?, key }))
            }
            "r" => serde_json::from_slice(payload).ok().map(Self::Revocation),
            "u" => serde_json::from_slice(payload).ok().map(Self::Renewal),
            _ => None,
        }
    }

    /// How long the record is kept from `now`, in seconds since 1970.
    pub(super) fn life(&self, now: i64) -> Duration {
        match self {
            Self::Key(_) => KEY_LIFE,
            Self::Revocation(_) => REVOCATION_LIFE,
            Self::Renewal(renewal) => {
                Duration::from_secs(u64::try_from(renewal.until - now).unwrap_or(0).max(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_parsed_back() {
        let id = RandomId::generate();
        let identity = Identity { issuer: "https://i".into(), subject: "a.b*".into() };
        for record in [
            Record::Key(TicketKey { day: 20_783, key: [7; 32] }),
            Record::Revocation(Revocation { what: Revoked::Subject("a b > *".into()), before: 5 }),
            Record::Revocation(Revocation { what: Revoked::Id(id), before: 5 }),
            Record::Renewal(Renewal {
                id,
                identity,
                until: 9,
                topics: vec!["user.*".into()],
                broadcast: true,
            }),
        ] {
            let subject = record.subject();
            assert!(subject.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'), "{subject}");
            assert_eq!(Record::parse(&subject, &record.payload().unwrap()), Some(record));
        }
        for (subject, payload) in
            [("k.1", "{}"), ("k.x", "{\"key\":\"\"}"), ("z.1", "{}"), ("r", ""), ("u.1", "[]")]
        {
            assert_eq!(Record::parse(subject, payload.as_bytes()), None, "{subject}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = Record::Key(TicketKey { day: 1, key: [171; 32] });
        assert!(!format!("{key:?}").contains("171"), "{key:?}");
    }
}
