//! The credential of a subscriber with a grant: a token that lives a few seconds, and the next one when it ends. What it grants stays
//! the same over a run.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    http::Answer,
    issuer::{Issuer, bearer, request},
};

/// Subjects. Each may read `user.{sub}`; some events have these topics.
const SUBJECTS: [&str; 4] = ["1", "2", "3", "42"];
/// What some of them may read beside it.
const MORE: [&[&str]; 4] = [&[], &["orders.>"], &["user.1.>", "stadt.köln"], &["a.*.c.>"]];
/// How long tokens live, in whole seconds.
const LIFE_SECONDS: std::ops::RangeInclusive<i64> = 3..=5;
/// How long a renewal may take. The broker gives up on NATS earlier.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(3);

/// The credential of one subscriber.
#[derive(Debug)]
pub(super) struct Credential {
    issuer: Arc<Issuer>,
    subject: &'static str,
    more: &'static [&'static str],
    token: String,
    end: i64,
}

/// The outcome of a renewal.
pub(super) enum Renewal {
    /// The grant ends at this time, in milliseconds since 1970.
    Moved(i64),
    /// The broker, or NATS behind it, is not there.
    Unavailable,
    /// A response that must not occur.
    Wrong(String),
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

impl Credential {
    /// That of a random subject.
    pub(super) fn draw(issuer: &Arc<Issuer>, rng: &mut Rng) -> Self {
        let subject = SUBJECTS[rng.usize(..SUBJECTS.len())];
        let more = MORE[rng.usize(..MORE.len())];
        let issuer = Arc::clone(issuer);
        let mut credential = Self { issuer, subject, more, token: String::new(), end: 0 };
        credential.refresh(rng);
        credential
    }

    /// Takes a new token, as a client does at its identity provider.
    pub(super) fn refresh(&mut self, rng: &mut Rng) {
        let seconds = rng.i64(LIFE_SECONDS);
        let end = Timestamp::now().as_second() + seconds;
        let grants = json!({"grants": {"subscribe": self.more}, "exp": end});
        self.token = self.issuer.token(self.subject, seconds, grants);
        self.end = end * 1000;
    }

    /// Patterns of the topics that it grants. Broadcasts are granted, too.
    pub(super) fn granted(&self) -> Vec<String> {
        let more = self.more.iter().map(|pattern| (*pattern).to_owned());
        [format!("user.{}", self.subject)].into_iter().chain(more).collect()
    }

    /// The header that carries it.
    pub(super) fn header(&self) -> (String, String) {
        bearer(&self.token)
    }

    /// When the token ends, in milliseconds since 1970.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// Whether the token has ended.
    pub(super) fn has_ended(&self) -> bool {
        now() >= self.end
    }

    /// Renews an open stream at `url` with a new token.
    pub(super) async fn renew(&mut self, url: &str, rng: &mut Rng) -> Renewal {
        self.refresh(rng);
        match timeout(RENEWAL_TIMEOUT, request("POST", url, &self.token, None)).await {
            Ok(Ok(answer)) => self.renewed(&answer),
            Ok(Err(_)) | Err(_) => Renewal::Unavailable,
        }
    }

    fn renewed(&self, answer: &Answer) -> Renewal {
        let end = answer.json["expires_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        match (answer.status, end) {
            (200, Some(end)) if end.as_millisecond() == self.end => Renewal::Moved(self.end),
            // Other clients at this address have sent tokens that had expired.
            (429, _) if answer.json["type"] == "urn:eventcast:problem:too-many-refusals" => {
                Renewal::Unavailable
            }
            (500.., _) => Renewal::Unavailable,
            (status, _) => Renewal::Wrong(format!("a renewal: {status} {}", answer.json)),
        }
    }
}
