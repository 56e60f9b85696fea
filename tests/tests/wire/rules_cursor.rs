//! Every stream gives its client a cursor with its first bytes, wherever it starts, whatever its filter, from either sink. A
//! client that is cut off before the first event resumes with that cursor where it started, at any broker: nothing is missing,
//! nothing is delivered twice, and no gap is declared.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Publish, Version, client},
    init_tracing,
    nats::NatsServer,
    sinks::SHARD_COUNTS,
    sse::{EventStream, Subscribe},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

/// Well before the first heartbeat, which comes after 15 seconds.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(5);
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams opened at a time.
const MAX_CONCURRENT: usize = 12;
/// A shard's HTTP/1.1, HTTP/2, and HTTP/1.1 where hyper keeps every socket: the sink and the version.
const WAYS: [(usize, Version); 3] = [(0, Version::Http1), (0, Version::Http2), (1, Version::Http1)];
/// A filter for everything, for a part, and for what is never published.
const FILTERS: [Option<&str>; 3] = [None, Some("t.1"), Some("nobody")];

/// One log, and a broker for each sink.
struct Log {
    nats: NatsServer,
    brokers: Vec<Broker>,
    events: Vec<Event>,
    /// The time between the two halves of the events.
    middle: String,
}

struct Event {
    topic: String,
    cursor: String,
    /// The log has dropped it.
    gone: bool,
}

/// What a stream is to give of the events that were there when it was opened.
#[derive(Clone, Copy, Debug)]
enum Gives {
    Nothing,
    Everything,
    Newest(usize),
    /// From the event of this number on.
    From(usize),
}

/// A start position as a client asks for it.
#[derive(Clone, Debug)]
struct Start {
    query: String,
    header: Option<String>,
    gives: Gives,
    /// Events are gone that it asks for: the gap has the first id.
    gap: bool,
}

impl Log {
    /// A log with `count` events, of which each broker holds `tail` in memory.
    async fn with(count: usize, tail: usize) -> Result<Self> {
        Self::with_mortal(count, tail, &[]).await
    }

    /// As [`with`](Self::with), but the events of the numbers `mortal` live for a second.
    async fn with_mortal(count: usize, tail: usize, mortal: &[usize]) -> Result<Self> {
        init_tracing();
        let nats = NatsServer::start_with("1m").await?;
        let mut brokers = Vec::new();
        for shards in SHARD_COUNTS {
            let config = |config: &mut BrokerConfig| {
                config.fanout.shards = Some(shards);
                config.memory.tail_events = tail;
                config.channels[0].delivery.from = "last:2".into();
            };
            brokers.push(Broker::start(&nats.url(), config).await?);
        }
        let mut log = Self { nats, brokers, events: Vec::new(), middle: String::new() };
        let topic = |n: usize| (format!("t.{}", n % 5), mortal.contains(&n));
        log.publish(count / 2, topic).await?;
        log.middle = jiff::Timestamp::now().to_string();
        log.publish(count - count / 2, topic).await?;
        Ok(log)
    }

    /// Publishes events with topics, and whether they live for a second only.
    async fn publish(&mut self, count: usize, of: impl Fn(usize) -> (String, bool)) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let numbers = self.events.len()..self.events.len() + count;
        let line = |n: usize| {
            let (topic, mortal) = of(n);
            let mut line = json!({"data": n.to_string(), "topic": topic});
            if mortal {
                line["ttl"] = "1s".into();
            }
            line.to_string() + "\n"
        };
        let body: String = numbers.clone().map(line).collect();
        let batch = Publish::new(body).header("Content-Type", "application/x-ndjson");
        let answer = batch.send(&client(Version::Http1), &self.brokers[0].events_url("")).await?;
        ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
        let stored = answer.json["events"].as_array().context("no events")?;
        for (n, event) in numbers.zip(stored) {
            let cursor = event["cursor"].as_str().context("no cursor")?.to_owned();
            let (topic, gone) = of(n);
            self.events.push(Event { topic, cursor, gone });
        }
        Ok(())
    }

    /// Drops the first `first` events from the log, waits until the mortal ones have expired, and restarts the brokers with
    /// what is left.
    async fn drop_events(&mut self, first: usize) -> Result<()> {
        let jetstream = self.nats.jetstream().await?;
        jetstream.get_stream("SSE_default_demo").await?.purge().sequence(first as u64 + 1).await?;
        self.events[..first].iter_mut().for_each(|event| event.gone = true);
        let left = self.events.iter().filter(|event| !event.gone).count() as u64;
        eventually("the mortal events are gone", WAIT_TIMEOUT, || async {
            let stream = jetstream.get_stream("SSE_default_demo").await?;
            let messages = stream.cached_info().state.messages;
            ensure!(messages == left, "{messages} are left, not {left}");
            Ok(())
        })
        .await?;
        for broker in &mut self.brokers {
            broker.restart().await?;
        }
        Ok(())
    }

    /// Every way to say where a stream begins.
    async fn starts(&self) -> Result<Vec<Start>> {
        let from = |text: &str, gives| {
            let query = format!("from={}", text.replace('+', "%2B"));
            Start { query, header: None, gives, gap: false }
        };
        let half = self.events.len() / 2;
        let mut starts = vec![
            Start { query: String::new(), ..from("", Gives::Newest(2)) }, // the channel's default
            from("latest", Gives::Nothing),
            from("earliest", Gives::Everything),
            from("last:1", Gives::Newest(1)),
            from("last:2", Gives::Newest(2)),
            from("last:20", Gives::Newest(20)),
            from("last:1000", Gives::Everything),
            from("-10m", Gives::Everything),
            from("-0s", Gives::Nothing),
            from("1971-01-01T00:00:00Z", Gives::Everything),
            from("2100-01-01T00:00:00Z", Gives::Nothing),
            from(&self.middle, Gives::From(half)),
        ];
        let beginning = {
            let url = self.brokers[0].events_url("from=latest");
            let id =
                EventStream::connect(&url, None).await?.next_within(FIRST_BYTES_TIMEOUT).await?.id;
            let id = id.context("no cursor")?;
            format!("{}-0-000", id.split('-').next().unwrap_or_default())
        };
        let kept = self.events.iter().position(|event| !event.gone).unwrap_or(0);
        let mut cursors = vec![(beginning, 0)];
        for n in [0, half, half + 1, self.events.len().saturating_sub(1)] {
            cursors.extend(self.events.get(n).map(|event| (event.cursor.clone(), n + 1)));
        }
        for (cursor, next) in cursors {
            let gap = next < kept;
            let start = Start { gap, ..from(&cursor, Gives::From(next)) };
            let query = format!("from=latest&lastEventId={cursor}");
            starts.push(Start { query, ..start.clone() });
            let header = Some(cursor);
            starts.push(Start { query: "from=earliest".into(), header, ..start.clone() });
            starts.push(start);
        }
        let header = Some("of-another-product".to_owned());
        starts.push(Start { header, gap: true, ..from("latest", Gives::Everything) });
        Ok(starts)
    }

    /// The numbers of the first `count` events that a stream is to give.
    fn given(&self, count: usize, filter: Option<&str>, gives: Gives) -> Vec<String> {
        let passes = |event: &Event| filter.is_none_or(|topic| event.topic == topic);
        let all = self.events[..count].iter().enumerate();
        let all = all.filter(|(_, event)| !event.gone && passes(event)).map(|(n, _)| n);
        let all: Vec<usize> = all.collect();
        let from = match gives {
            Gives::Nothing => all.len(),
            Gives::Everything => 0,
            Gives::Newest(n) => all.len().saturating_sub(n),
            Gives::From(first) => all.partition_point(|n| *n < first),
        };
        all[from..].iter().map(ToString::to_string).collect()
    }

    /// Opens a stream, and reads its first event.
    async fn open(
        &self,
        (broker, version): (usize, Version),
        filter: Option<&str>,
        query: &str,
        header: Option<String>,
    ) -> Result<(EventStream, String, String)> {
        let topic = filter.map(|topic| format!("topic={topic}")).unwrap_or_default();
        let url = self.brokers[broker].events_url(format!("{topic}&{query}").trim_matches('&'));
        let request = Subscribe { url, version, last_event_id: header, ..Subscribe::default() };
        let mut stream = EventStream::open(request).await?;
        let first = stream.next_within(FIRST_BYTES_TIMEOUT).await.context("the first id")?;
        let id = first.id.with_context(|| format!("no id: {:?}", first.raw))?;
        Ok((stream, first.event_type, id))
    }

    /// Opens streams of every kind, cuts each at once, publishes, and resumes each.
    async fn check(mut self) -> Result<()> {
        let before = self.events.len();
        let mut cases = Vec::new();
        for start in self.starts().await? {
            for filter in FILTERS {
                cases.extend((0..WAYS.len()).map(|way| (start.clone(), filter, way)));
            }
        }
        let log = &self;
        let open = stream::iter(cases).map(async |(start, filter, way)| {
            let what = format!("{start:?}, {filter:?}, {:?}", WAYS[way]);
            let opened = log.open(WAYS[way], filter, &start.query, start.header.clone()).await;
            let (stream, kind, id) = opened.with_context(|| what.clone())?;
            let wanted = if start.gap { "eventcast.gap" } else { "eventcast.cursor" };
            ensure!(kind == wanted, "{what} begins with {kind}");
            drop(stream.cut());
            Ok((start, filter, way, id, what))
        });
        let opened: Vec<_> = open.buffer_unordered(MAX_CONCURRENT).try_collect().await?;

        self.publish(4, |n| (format!("t.{}", n - before), false)).await?;
        let end = self.events[before + 3].cursor.clone();
        let log = &self;
        let again =
            stream::iter(opened).enumerate().map(async |(i, (start, filter, way, id, what))| {
                let what = format!("{what}, back with {id}");
                let (query, header) = match i % 3 {
                    0 => (start.query, Some(id.clone())),
                    1 => (format!("lastEventId={id}"), None),
                    _ => (format!("from={id}"), None),
                };
                // at another broker, or by another version
                let opened = log.open(WAYS[(way + 1) % WAYS.len()], filter, &query, header).await;
                let (mut stream, kind, first) = opened.with_context(|| what.clone())?;
                ensure!(kind == "eventcast.cursor", "{what}: {kind} {first}");
                ensure!(first == id, "{what}: it begins at {first}");
                let mut wanted = log.given(before, filter, start.gives);
                wanted.extend(log.given(log.events.len(), filter, Gives::From(before)));
                let mut came = Vec::new();
                while came.len() < wanted.len() {
                    let event = stream.next_within(WAIT_TIMEOUT).await.with_context(|| {
                        format!("{what}: {} of {} came", came.len(), wanted.len())
                    })?;
                    ensure!(!event.is_control(), "{what}: {:?}", event.raw);
                    came.push(event.data);
                }
                ensure!(came == wanted, "{what}: {came:?} came for {wanted:?}");
                ensure!(filter.is_some() || stream.cursor() == Some(&end), "{what}: not the end");
                Ok(())
            });
        again.buffer_unordered(MAX_CONCURRENT).try_collect::<Vec<()>>().await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_stream_of_an_empty_channel_has_a_cursor_from_its_first_byte() -> Result<()> {
    Log::with(0, 65_536).await?.check().await
}

#[tokio::test]
async fn a_stream_of_what_is_in_memory_has_a_cursor_from_its_first_byte() -> Result<()> {
    Log::with(300, 65_536).await?.check().await
}

#[tokio::test]
async fn a_stream_of_what_lies_below_memory_has_a_cursor_from_its_first_byte() -> Result<()> {
    Log::with(600, 16).await?.check().await
}

#[tokio::test]
async fn a_stream_of_what_is_left_of_a_log_has_a_cursor_from_its_first_byte() -> Result<()> {
    let mut log = Log::with_mortal(300, 65_536, &[149, 298]).await?;
    log.drop_events(100).await?;
    log.check().await
}

/// The event before where a stream begins may be gone, or the newest of all.
#[tokio::test]
async fn a_stream_beside_a_dropped_event_has_a_cursor_from_its_first_byte() -> Result<()> {
    let mut log = Log::with_mortal(600, 16, &[299, 300, 511, 579, 599]).await?;
    log.drop_events(100).await?;
    log.check().await
}
