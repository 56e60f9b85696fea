//! Lists the open streams of this broker, optionally the slow ones only, and closes some.

use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Duration};

use eventcast_runtime::control::{Handled, Refused, body};
use eventcast_wire::closing::CloseReason;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::{
    broker::Broker,
    channel::Channel,
    clock::{now_millis, now_nanos},
    identity::RandomId,
    sessions::{MAX_LISTED, Progress, Session, SinkReport, describe_topics},
};

/// Streams that are listed if the request names no limit.
const DEFAULT_LISTED: usize = 100;
/// Ids in one request.
const MAX_IDS: usize = 1000;
/// Type patterns of a stream that are listed.
const MAX_TYPES: usize = 32;
/// A client that has not read for this long is slow.
const SLOW: Duration = Duration::from_secs(1);
/// How long sinks may take to report what they have sent.
const REPORT_TIMEOUT: Duration = Duration::from_millis(300);
/// How often to check whether all have reported.
const REPORT_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Selects the streams that match all given fields.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Selection {
    /// `<namespace>/<name>`.
    channel: Option<String>,
    subject: Option<String>,
    /// A topic or pattern exactly as the stream asked for it. Streams that name no topic do not match.
    topic: Option<String>,
    /// Ids of sessions.
    ids: Option<Vec<String>>,
}

/// What the query of a list asks for.
#[derive(Debug, Default)]
struct Asked {
    selection: Selection,
    /// Only streams that are behind, those that are furthest first.
    slow: bool,
    limit: usize,
}

/// The answer to `GET /connections`.
#[derive(Serialize)]
struct List {
    /// How many streams match, listed or not.
    total: usize,
    truncated: bool,
    connections: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    channel: String,
    client: String,
    issuer: Option<String>,
    subject: Option<String>,
    protocol: &'static str,
    tls: bool,
    topics: String,
    types: Vec<String>,
    age_seconds: u64,
    state: &'static str,
    /// Sequences between its position and the newest event.
    behind_events: u64,
    /// Age of the next event that it will be sent or skip; a lower bound, if that one is no longer in memory.
    behind_seconds: Option<f64>,
    /// How long its socket has accepted nothing.
    blocked_seconds: Option<f64>,
    /// Events that were sent, and their bytes; `None` if its sink did not report them in time.
    events: Option<u64>,
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct Closed {
    closed: usize,
}

/// `GET /connections`.
pub(super) async fn list(broker: &Broker, query: &str) -> Handled {
    let asked = asked(query)?;
    let mut selected = select(broker, &asked.selection)?;
    let heads = heads(broker);
    let lag = |session: &Session| {
        let channel = heads.get(session.channel());
        channel.map_or(0, |(_, head)| session.lag(*head))
    };
    if asked.slow {
        let is_unread = |session: &Session| {
            broker.sessions.unread_for(session).is_some_and(|unread| unread >= SLOW)
        };
        selected.retain(|session| lag(session) > 0 || is_unread(session));
        selected.sort_by_cached_key(|session| Reverse(lag(session)));
    } else {
        selected.sort_by_key(|session| session.info().began_at);
    }
    let total = selected.len();
    selected.truncate(asked.limit);
    let reports = reports(&selected).await;
    let listed = selected.iter().zip(reports).map(|(session, report)| {
        let channel = heads.get(session.channel());
        listed(broker, session, channel.map(|(channel, head)| (&**channel, *head)), report)
    });
    body(&List { total, truncated: total > selected.len(), connections: listed.collect() })
}

/// `POST /connections/close`.
pub(super) fn close(broker: &Broker, request: &[u8]) -> Handled {
    let selection: Selection = serde_json::from_slice(request).map_err(|error| {
        Refused::bad_request(format!(
            "{error}: write {{\"ids\": [...]}}, or channel, subject or topic"
        ))
    })?;
    let Selection { channel, subject, topic, ids } = &selection;
    if channel.is_none() && subject.is_none() && topic.is_none() && ids.is_none() {
        return Err(Refused::bad_request("name what to close: ids, channel, subject or topic"));
    }
    let selected = select(broker, &selection)?;
    let closed = selected.iter().filter(|session| session.close(CloseReason::Disconnected)).count();
    let (channel, subject, topic) = (channel.as_deref(), subject.as_deref(), topic.as_deref());
    tracing::info!(
        channel,
        subject,
        topic,
        closed,
        "closed streams, as asked for at the control port"
    );
    body(&Closed { closed })
}

fn asked(query: &str) -> Result<Asked, Refused> {
    let mut asked = Asked { limit: DEFAULT_LISTED, ..Asked::default() };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let text = || Some(value.to_string());
        match &*name {
            "channel" => asked.selection.channel = text(),
            "subject" => asked.selection.subject = text(),
            "topic" => asked.selection.topic = text(),
            "slow" if matches!(&*value, "" | "true") => asked.slow = true,
            "limit" => {
                let limit = value.parse().ok().filter(|limit| *limit <= MAX_LISTED);
                let wrong = || Refused::bad_request(format!("limit must be 0 to {MAX_LISTED}"));
                asked.limit = limit.ok_or_else(wrong)?;
            }
            _ => {
                return Err(Refused::bad_request(format!(
                    "{name} is not a parameter: use channel, subject, topic, slow or limit"
                )));
            }
        }
    }
    Ok(asked)
}

/// The streams of clients that match.
fn select(broker: &Broker, selection: &Selection) -> Result<Vec<Arc<Session>>, Refused> {
    let Selection { channel, subject, topic, ids } = selection;
    if let Some(channel) = channel
        && !broker.channels().contains_key(channel)
    {
        return Err(Refused::not_found(format!(
            "this broker does not serve the channel {channel}"
        )));
    }
    let ids = ids.as_deref().map(parse_ids).transpose()?;
    let mut selected = match channel {
        Some(channel) => broker.sessions.select(channel, subject.as_deref()),
        None => broker.sessions.all(),
    };
    selected.retain(|session| {
        let is_subject = |subject: &String| session.subject().is_some_and(|own| **own == **subject);
        !session.is_probe()
            && subject.as_ref().is_none_or(is_subject)
            && topic.as_ref().is_none_or(|topic| session.info().filter.names_topic(topic))
            && ids.as_ref().is_none_or(|ids| ids.contains(&session.info().id))
    });
    Ok(selected)
}

fn parse_ids(ids: &[String]) -> Result<Vec<RandomId>, Refused> {
    if ids.len() > MAX_IDS {
        return Err(Refused::bad_request(format!("more than {MAX_IDS} ids")));
    }
    let parse = |id: &String| {
        id.parse().map_err(|why| Refused::bad_request(format!("{id:?} is not an id: {why}")))
    };
    ids.iter().map(parse).collect()
}

/// The channels, and the sequences of their newest events.
fn heads(broker: &Broker) -> HashMap<Arc<str>, (Arc<Channel>, u64)> {
    let of = |channel: &Arc<Channel>| {
        let head = channel.log().tail().head().map_or(0, |head| head.sequence);
        (Arc::clone(channel.key()), (Arc::clone(channel), head))
    };
    broker.channels().values().map(of).collect()
}

/// What the sinks of `sessions` have sent. Sinks of slow sockets may not report in time.
async fn reports(sessions: &[Arc<Session>]) -> Vec<Option<SinkReport>> {
    sessions.iter().for_each(|session| session.request_report());
    let until = Instant::now() + REPORT_TIMEOUT;
    while Instant::now() < until && sessions.iter().any(|session| session.is_report_requested()) {
        sleep(REPORT_POLL_INTERVAL).await;
    }
    sessions.iter().map(|session| session.report()).collect()
}

/// `channel` is that of the stream, and the sequence of its newest event.
fn listed(
    broker: &Broker,
    session: &Session,
    channel: Option<(&Channel, u64)>,
    report: Option<SinkReport>,
) -> Listed {
    let info = session.info();
    let progress = session.progress();
    let behind_events = channel.map_or(0, |(_, head)| session.lag(head));
    let next = match (channel, progress) {
        (Some((channel, _)), Progress::Behind(position)) if behind_events > 0 => {
            channel.log().tail().nanos_after(position)
        }
        _ => None,
    };
    let unread = broker.sessions.unread_for(session).filter(|_| report.is_none());
    let blocked = report.and_then(|report| report.blocked).or(unread);
    let state = match progress {
        _ if session.close_reason().is_some() => "closing",
        _ if blocked.is_some() => "blocked",
        Progress::Starting => "starting",
        Progress::Behind(_) if behind_events > 0 => "behind",
        Progress::AtHead | Progress::Behind(_) => "live",
    };
    let identity = info.identity.as_ref();
    let types = info.filter.types().iter().take(MAX_TYPES);
    Listed {
        id: info.id.to_string(),
        channel: session.channel().to_string(),
        client: session.client().to_string(),
        issuer: identity.map(|identity| identity.issuer.to_string()),
        subject: identity.map(|identity| identity.subject.to_string()),
        protocol: info.protocol,
        tls: session.connection().is_tls(),
        topics: describe_topics(&info.filter),
        types: types.map(|pattern| pattern.text().to_owned()).collect(),
        age_seconds: u64::try_from((now_millis() - info.began_at) / 1000).unwrap_or(0),
        state,
        behind_events,
        behind_seconds: next.map(|nanos| seconds((now_nanos() - nanos).max(0))),
        blocked_seconds: blocked.map(|blocked| blocked.as_secs_f64()),
        events: report.map(|report| report.sent.events),
        bytes: report.map(|report| report.sent.bytes),
    }
}

/// Seconds, to the millisecond.
fn seconds(nanos: i64) -> f64 {
    (nanos / 1_000_000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_strictly() {
        let read = asked("channel=a/b&subject=x%20y&topic=u.*&slow&limit=7").unwrap();
        let Selection { channel, subject, topic, ids } = read.selection;
        assert_eq!((read.slow, read.limit, ids), (true, 7, None));
        assert_eq!(
            [channel, subject, topic].map(Option::unwrap),
            ["a/b".to_owned(), "x y".into(), "u.*".into()]
        );
        assert_eq!(asked("").unwrap().limit, DEFAULT_LISTED);
        for wrong in ["limit=1001", "limit=-1", "slow=no", "chanel=a/b"] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Selection>(r#"{"subjct":"a"}"#).is_err());
    }
}
