//! A stream is never silent for longer than a heartbeat, whatever the reason that no event arrives, from either sink: its filter
//! skips a long history, NATS does not return a page, or nothing is published. Its cursor advances meanwhile, so that a client
//! that is cut off does not start again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::Broker,
    cursor::Cursor,
    eventually,
    http::{Version, client},
    link::Link,
    sinks::{SHARD_COUNTS, counts, number},
    sse::{EventStream, Subscribe},
    wire::{BrokerWithNats, EVENTS, Http2Connection, RawResponse},
};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of one second, give or take a fifth; the rest is for a loaded machine.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(8);
const WAYS: [(usize, Version); 3] = [
    (SHARD_COUNTS[0], Version::Http1),
    (SHARD_COUNTS[0], Version::Http2),
    (SHARD_COUNTS[1], Version::Http1),
];

fn beats_every_second(config: &mut BrokerConfig) {
    config.channels[0].delivery.heartbeat_seconds = 1;
}

async fn open(broker: &Broker, version: Version, query: &str) -> Result<EventStream> {
    let url = broker.events_url(query);
    EventStream::open(Subscribe { url, version, ..Subscribe::default() }).await
}

fn sequence(id: Option<&str>) -> Result<u64> {
    Ok(Cursor::parse(id.context("no id")?)?.sequence)
}

/// Many clients replay a log of which no event passes their filters, which are slow to evaluate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_skips_a_long_history_causes_no_silence() -> Result<()> {
    const EVENTS: u64 = 20_000;
    const READERS: usize = 40;
    for (shards, version) in WAYS {
        let broker = BrokerWithNats::with_shards(shards, beats_every_second).await?;
        let nats = broker.nats.client().await?;
        let subject = format!("sse.default.demo.t.{}", ["a"; 16].join("."));
        for _ in 0..EVENTS {
            nats.publish(subject.clone(), "x".into()).await?;
        }
        nats.flush().await?;
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let all = |head: f64| head >= EVENTS as f64;
        broker.wait_for_metric("eventcast_tail_head_sequence", &[], WAIT_TIMEOUT, all).await?;
        let patterns = (0..32).map(|n| format!("topic={}.b{n}&", ["*"; 15].join(".")));
        let query = patterns.collect::<String>() + "from=earliest";
        let mut readers = JoinSet::new();
        for _ in 0..READERS {
            let (url, query) = (broker.events_url(&query), Subscribe::default());
            readers.spawn(async move {
                let mut stream = EventStream::open(Subscribe { url, version, ..query }).await?;
                let opened = stream.next_within(HEARTBEAT_TIMEOUT).await?;
                ensure!(sequence(opened.id.as_deref())? == 0, "begins with {:?}", opened.raw);
                let silence = || format!("silence: {version:?}, {shards} shards");
                let moved = stream.next_within(HEARTBEAT_TIMEOUT).await.with_context(silence)?;
                ensure!(moved.event_type == "eventcast.cursor", "{:?}", moved.raw);
                sequence(moved.id.as_deref())
            });
        }
        let moved: Result<Vec<u64>> = readers.join_all().await.into_iter().collect();
        let on_the_way = moved?.into_iter().filter(|at| (1..EVENTS).contains(at)).count();
        ensure!(on_the_way > 0, "{version:?}, {shards} shards: told only when all was read");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_go_on_while_nats_does_not_give_a_page() -> Result<()> {
    /// Three pages: to tell where the log begins and ends the broker reads the first and the last of them.
    const EVENTS: u64 = 600;
    const READ: u64 = 255;
    for (shards, version) in WAYS {
        // it publishes, because the publishing broker has the pages in memory
        let other = BrokerWithNats::start(|_| {}).await?;
        let link = Link::to(&other.nats.url()).await?;
        let broker = Broker::start(&link.url(), |config| {
            beats_every_second(config);
            config.fanout.shards = Some(shards);
            config.memory.tail_events = 16;
        })
        .await?;
        other.publish_numbers(0..EVENTS, 1..=10).await?;
        let head = async || {
            let head = broker.metric("eventcast_tail_head_sequence", &[]).await?;
            ensure!(head >= 600.0, "{head}");
            Ok(())
        };
        eventually("the broker has all of it", WAIT_TIMEOUT, head).await?;
        // it has just learned where the log begins, so the stream begins there, and waits for its second page
        let channel = broker.url("/channels/default/demo");
        ensure!(client(Version::Http1).get(channel).send().await?.status() == 200);
        link.freeze();
        let mut stream = open(&broker, version, "from=earliest").await?;
        let opened = stream.next_within(HEARTBEAT_TIMEOUT).await?;
        ensure!(sequence(opened.id.as_deref())? == 0, "begins with {:?}", opened.raw);
        counts(&mut stream, 0..READ, WAIT_TIMEOUT).await?;
        let began = Instant::now();
        while stream.comments() < 4 {
            ensure!(
                began.elapsed() < HEARTBEAT_TIMEOUT,
                "{version:?}: {} comments",
                stream.comments()
            );
            // a comment comes with no event: look again after a moment of reading
            let event = timeout(Duration::from_millis(100), stream.next()).await;
            ensure!(event.is_err(), "{version:?}: {event:?}");
        }
        link.mend();
        counts(&mut stream, READ..EVENTS, WAIT_TIMEOUT).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_ends_with_the_cursor_that_its_filter_let_it_reach() -> Result<()> {
    for shards in SHARD_COUNTS {
        let broker = BrokerWithNats::with_shards(shards, |_| {}).await?;
        let mut streams = Vec::new();
        for version in [Version::Http1, Version::Http2] {
            let mut stream = open(&broker, version, "type=nothing").await?;
            stream.next_of("eventcast.cursor", WAIT_TIMEOUT).await?;
            streams.push(stream);
        }
        let mut last = String::new();
        for n in 0..3 {
            last = broker.publish(n.to_string()).await?;
        }
        let filtered = [("outcome", "filtered")];
        let all = |count| count == 6.0;
        broker
            .wait_for_metric("eventcast_subscriber_events_total", &filtered, WAIT_TIMEOUT, all)
            .await?;
        broker.terminate()?;
        for mut stream in streams {
            stream.next_of("eventcast.closing", WAIT_TIMEOUT).await?;
            assert_eq!(stream.cursor(), Some(&*last), "{shards} shards");
        }
    }
    Ok(())
}

/// Bytes of an event of [`unread`].
const BYTES: usize = 4000;
/// Room that an HTTP/2 stream has which is not read.
const WINDOW: u32 = 65_535;

/// Replays events `0..200` over HTTP/2 to a client that does not read, until the window is full. The rest stays in the log.
async fn unread(broker: &BrokerWithNats) -> Result<(Http2Connection, RawResponse, f64)> {
    broker.publish_numbers(0..200, BYTES..=BYTES).await?;
    let socket = TcpStream::connect(broker.address()).await?;
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(WINDOW).data_frame_budget(1 << 30);
    let mut connection = Http2Connection::over(socket, &settings).await?;
    let response = connection.request("GET", &format!("{EVENTS}?from=earliest"), &[], b"").await?;
    let fits = f64::from(WINDOW) / BYTES as f64;
    broker
        .wait_for_metric(DELIVERED.0, &DELIVERED.1, WAIT_TIMEOUT, |count| count >= fits.floor())
        .await?;
    tokio::time::sleep(Duration::from_millis(300)).await; // that nothing else is taken cannot be waited for
    let taken = broker.metric(DELIVERED.0, &DELIVERED.1).await?;
    ensure!(taken <= fits + 4.0, "{taken} events were taken, of which {fits} fit");
    Ok((connection, response, taken))
}

const DELIVERED: (&str, [(&str, &str); 1]) =
    ("eventcast_subscriber_events_total", [("outcome", "delivered")]);

/// What HTTP/2 has no room for is not taken: the position moves with what goes out, event by event.
#[tokio::test]
async fn of_a_reader_that_does_not_read_nothing_is_taken_beyond_its_window() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let (_connection, mut response, _) = unread(&broker).await?;
    for n in 0..200 {
        let data = response.data().await?;
        ensure!(data.starts_with(&format!("{n} ")), "{n}: {}", &data[..10]);
    }
    broker.wait_for_metric(DELIVERED.0, &DELIVERED.1, WAIT_TIMEOUT, |count| count == 200.0).await?;
    Ok(())
}

#[tokio::test]
async fn events_dropped_before_they_were_read_are_not_delivered() -> Result<()> {
    const LEFT: u64 = 150;
    let broker = BrokerWithNats::start(|_| {}).await?;
    let (_connection, mut response, taken) = unread(&broker).await?;
    let jetstream = broker.nats.jetstream().await?;
    let stream = jetstream.get_stream("SSE_default_demo").await?;
    stream.purge().sequence(LEFT + 1).await?;
    broker
        .wait_for_metric("eventcast_tail_events", &[], WAIT_TIMEOUT, |events| events == 50.0)
        .await?;
    let mut came: Vec<u64> = Vec::new();
    let mut gaps = 0;
    while came.last() != Some(&199) {
        let block = response.next_block_with("data: ").await?;
        gaps += usize::from(block.contains("event: eventcast.gap"));
        if !block.contains("event: eventcast.") {
            let data = block.lines().find_map(|line| line.strip_prefix("data: "));
            came.push(number(data.unwrap_or_default())?);
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let wanted: Vec<u64> = (0..taken as u64).chain(LEFT..200).collect();
    ensure!(came == wanted, "{came:?} came for {wanted:?}");
    ensure!(gaps == 1, "{gaps} gaps");
    Ok(())
}
