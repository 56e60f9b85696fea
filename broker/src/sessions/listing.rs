//! Lists the open streams of a channel, for its managers.

use std::sync::Arc;

use eventcast_wire::filter::Filter;
use serde::{Deserialize, Serialize};

use super::{Session, Sessions};

/// The most streams of one list.
pub(crate) const MAX_LISTED: usize = 1000;
/// Characters of the topics of one stream.
const MAX_TOPICS_CHARS: usize = 200;

/// What a list asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ListRequest {
    pub(crate) subject: Option<String>,
    pub(crate) limit: usize,
}

/// The streams of one broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// The number of streams that match the request, listed or not.
    pub(crate) total: usize,
    pub(crate) subscribers: Vec<Listed>,
}

/// One stream in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    session: String,
    issuer: Option<String>,
    subject: Option<String>,
    address: String,
    topics: String,
    since: String,
    /// When its grant ends.
    until: Option<String>,
    /// How many sequences it is behind the head of the log; 0: it has caught up.
    lag: u64,
    /// The host name of its broker.
    replica: String,
}

impl Sessions {
    /// Lists streams of the channel with the key `channel`, whose log ends at the sequence `head`.
    pub(crate) fn list(&self, channel: &str, request: &ListRequest, head: u64) -> Listing {
        let mut selected = self.select(channel, request.subject.as_deref());
        selected.retain(|session| !session.is_probe());
        let limit = request.limit.min(MAX_LISTED);
        let replica = std::env::var("HOSTNAME").unwrap_or_default();
        let listed = selected.iter().take(limit).map(|s| listed(s, head, &replica));
        Listing { total: selected.len(), subscribers: listed.collect() }
    }
}

fn listed(session: &Arc<Session>, head: u64, replica: &str) -> Listed {
    let info = session.info();
    let text = |text: &Arc<str>| text.to_string();
    let topics = describe_topics(&info.filter);
    let since = jiff::Timestamp::from_millisecond(info.began_at).unwrap_or_default();
    let until = session.grant_end().end().map(|end| {
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        let at = jiff::Timestamp::now() + jiff::SignedDuration::try_from(left).unwrap_or_default();
        format!("{at:.0}")
    });
    Listed {
        session: info.id.to_string(),
        issuer: info.identity.as_ref().map(|identity| text(&identity.issuer)),
        subject: info.identity.as_ref().map(|identity| text(&identity.subject)),
        address: session.client().to_string(),
        topics,
        since: format!("{since:.0}"),
        until,
        lag: session.lag(head),
        replica: replica.to_owned(),
    }
}

/// The topics of a filter, shortened.
pub(crate) fn describe_topics(filter: &Filter) -> String {
    let mut topics: String = filter.describe_topics().chars().take(MAX_TOPICS_CHARS + 1).collect();
    if topics.chars().count() > MAX_TOPICS_CHARS {
        topics.pop();
        topics.push('…');
    }
    topics
}
