//! The shutdown of a broker: it becomes unready, stops accepting, drains and exits; and what connected clients see of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::Shutdown;
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Http1Connection, Publish, Version, client, publish},
    init_tracing,
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};
use serde_json::json;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

async fn broker(nats: &NatsServer, delay: u64, drain: u64, grace: u64) -> Result<Broker> {
    Broker::start(&nats.url(), |config| {
        config.shutdown =
            Shutdown { delay_seconds: delay, drain_seconds: drain, grace_seconds: grace };
    })
    .await
}

async fn open(broker: &Broker, version: Version) -> Result<EventStream> {
    let request = Subscribe { url: broker.events_url(""), version, ..Subscribe::default() };
    let mut stream = EventStream::open(request).await?;
    stream.next_of("eventcast.cursor", WAIT_TIMEOUT).await?;
    Ok(stream)
}

async fn unready(broker: &Broker) -> Result<()> {
    let (http, url) = (client(Version::Http1), broker.admin_url("/readyz"));
    eventually("/readyz fails", Duration::from_secs(1), || async {
        let status = http.get(&url).send().await?.status();
        ensure!(status == 503, "{status}");
        Ok(())
    })
    .await
}

async fn stops_accepting(broker: &Broker) -> Result<()> {
    eventually("the listener is closed", WAIT_TIMEOUT, || async {
        TcpStream::connect(broker.address()).await.is_err().then_some(())
    })
    .await
}

/// Reads to the end; the wait that the goodbye asks for.
async fn goodbye(stream: &mut EventStream) -> Result<u64> {
    let closing = stream.next_of("eventcast.closing", WAIT_TIMEOUT).await?.json()?;
    assert_eq!(closing["reason"], "draining");
    let wait = closing["retry_ms"].as_u64().context("no retry_ms")?;
    assert_eq!(stream.retry(), Some(wait), "retry: says the same");
    let end = timeout(WAIT_TIMEOUT, stream.next()).await.context("it does not end")?;
    let end = end.context("the end is not clean")?;
    ensure!(end.is_none(), "something came after the goodbye: {end:?}");
    Ok(wait)
}

#[tokio::test]
async fn while_load_balancers_notice_everything_goes_on() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = broker(&nats, 2, 1, 8).await?;
    let mut old = open(&broker, Version::Http1).await?;
    let began = Instant::now();
    broker.terminate()?;
    unready(&broker).await?;
    let mut new = open(&broker, Version::Http2).await?;
    assert_eq!(publish(&broker.events_url(""), "late", &[]).await?.status, 201);
    for stream in [&mut old, &mut new] {
        assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "late");
    }
    let live = client(Version::Http1).get(broker.admin_url("/livez")).send().await?;
    assert_eq!(live.status(), 200, "killed by its own probe it could not drain");
    stops_accepting(&broker).await?;
    assert!(began.elapsed() >= Duration::from_secs(2), "after {:?}", began.elapsed());
    for stream in [&mut old, &mut new] {
        goodbye(stream).await?;
    }
    assert!(broker.wait_exit(WAIT_TIMEOUT).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_drain_ends_when_nobody_is_left() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = broker(&nats, 0, 60, 70).await?;
    let streams = [open(&broker, Version::Http1).await?, open(&broker, Version::Http2).await?];
    broker.terminate()?;
    stops_accepting(&broker).await?;
    drop(streams);
    assert!(broker.wait_exit(2 * WAIT_TIMEOUT).await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_closed_at_an_even_pace() -> Result<()> {
    const STREAMS: usize = 120;
    const DRAIN: u64 = 3; // seconds
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = broker(&nats, 0, DRAIN, 10).await?;
    let mut streams = Vec::new();
    for i in 0..STREAMS {
        let version = if i % 2 == 0 { Version::Http1 } else { Version::Http2 };
        streams.push(open(&broker, version).await?);
    }
    let began = Instant::now();
    broker.terminate()?;
    let mut tasks = JoinSet::new();
    for mut stream in streams {
        tasks.spawn(async move {
            let wait = goodbye(&mut stream).await?;
            anyhow::Ok((began.elapsed(), wait))
        });
    }
    let (mut thirds, mut waits) = ([0_usize; 3], Vec::new()); // by the second
    while let Some(ended) = tasks.join_next().await {
        let (at, wait) = ended??;
        let third = usize::try_from(at.as_secs())?.min(thirds.len() - 1);
        thirds[third] += 1;
        waits.push(wait);
        assert!(at < Duration::from_secs(DRAIN + 1), "closed after {at:?}");
    }
    let share = STREAMS / thirds.len();
    assert!(thirds.iter().all(|n| n.abs_diff(share) <= share / 2), "by the second: {thirds:?}");
    waits.sort_unstable();
    assert!(waits.iter().all(|wait| (1000..=1200).contains(wait)), "{waits:?}");
    waits.dedup();
    assert!(waits.len() > STREAMS / 2, "they would come back together: {waits:?}");
    assert!(broker.wait_exit(WAIT_TIMEOUT).await?.success());
    Ok(())
}

#[tokio::test]
async fn many_streams_of_one_http2_connection_are_ended_one_by_one() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = broker(&nats, 0, 1, 5).await?;
    let http = client(Version::Http2);
    let mut answers = JoinSet::new();
    for _ in 0..10 {
        let answer = http.get(broker.events_url("")).send().await?;
        assert_eq!(answer.status(), 200);
        answers.spawn(answer.text());
    }
    broker.terminate()?;
    while let Some(text) = answers.join_next().await {
        let text = text?.context("a stream was reset, not ended")?;
        assert!(text.contains("event: eventcast.closing"), "{text}");
    }
    assert!(broker.wait_exit(WAIT_TIMEOUT).await?.success());
    Ok(())
}

#[tokio::test]
async fn a_post_under_way_is_finished() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = broker(&nats, 0, 1, 8).await?;
    let mut idle = Http1Connection::connect(broker.address()).await?;
    let mut post = Http1Connection::connect(broker.address()).await?;
    let head =
        "POST /channels/default/demo/events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    post.send(format!("{head}first")).await?;
    idle.send("HEAD /channels/default/demo HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    assert_eq!(idle.read_head().await?.status, 200); // both connections were accepted
    broker.terminate()?;
    stops_accepting(&broker).await?;
    idle.closed().await.context("a connection without a request")?;
    post.send(" half").await?;
    assert_eq!(post.read_head().await?.status, 201);
    let answer: serde_json::Value = serde_json::from_slice(&post.body().await?)?;
    let cursor = answer["cursor"].as_str().context("no cursor")?;
    assert!(broker.wait_exit(WAIT_TIMEOUT).await?.success());
    broker.restart().await?;
    let mut stream = EventStream::connect(&broker.events_url("from=earliest"), None).await?;
    let event = stream.next_data(WAIT_TIMEOUT).await?;
    assert_eq!((event.data.as_str(), event.id.as_deref()), ("first half", Some(cursor)));
    Ok(())
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_delay_the_end() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let mut broker = broker(&nats, 0, 1, 3).await?;
    let line = format!("{}\n", json!({"data": "x".repeat(8 << 10)}));
    let batch = Publish::new(line.repeat(400)).header("Content-Type", "application/x-ndjson");
    let answer = batch.send(&client(Version::Http1), &broker.events_url("")).await?;
    assert_eq!(answer.status, 201);
    let url = broker.events_url("from=earliest");
    let request =
        Subscribe { url: url.clone(), receive_buffer: Some(4096), ..Subscribe::default() };
    let http1 = EventStream::open(request).await?;
    let http2 = client(Version::Http2).get(&url).send().await?;
    let began = Instant::now();
    broker.terminate()?;
    broker.wait_exit(WAIT_TIMEOUT).await?;
    assert!(began.elapsed() < Duration::from_secs(4), "graceSeconds is 3: {:?}", began.elapsed());
    drop((http1, http2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_move_to_another_broker_and_miss_nothing() -> Result<()> {
    const EVENTS: usize = 150;
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let (mut one, two) = (broker(&nats, 0, 1, 8).await?, broker(&nats, 0, 1, 8).await?);
    let mut readers = JoinSet::new();
    for i in 0..100 {
        let version = if i % 2 == 0 { Version::Http1 } else { Version::Http2 };
        let (mut stream, other) = (open(&one, version).await?, two.events_url(""));
        readers.spawn(async move {
            let (mut seen, mut moved) = (Vec::new(), false);
            while seen.len() < EVENTS {
                let next =
                    timeout(WAIT_TIMEOUT, stream.next()).await.context("nothing comes")??;
                match next {
                    Some(event) if !event.is_control() => seen.push(event.data),
                    Some(event) => ensure!(event.event_type != "eventcast.gap", "{}", event.raw),
                    None => {
                        stream = EventStream::connect(&other, stream.cursor()).await?;
                        moved = true;
                    }
                }
            }
            Ok((seen, moved))
        });
    }
    let http = client(Version::Http1);
    for i in 0..EVENTS {
        if i == 20 {
            one.terminate()?;
        }
        let answer = Publish::new(i.to_string()).send(&http, &two.events_url("")).await?;
        ensure!(answer.status == 201, "{}", answer.status);
        if i < EVENTS - 10 {
            // spread over the drain, and the last ones after it
            tokio::time::sleep(Duration::from_millis(8)).await;
        } else if i == EVENTS - 10 {
            one.wait_exit(WAIT_TIMEOUT).await?;
        }
    }
    let expected: Vec<String> = (0..EVENTS).map(|i| i.to_string()).collect();
    while let Some(reader) = readers.join_next().await {
        let (seen, moved) = reader??;
        assert_eq!(seen, expected);
        assert!(moved);
    }
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_at_once() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = broker(&nats, 30, 10, 60).await?;
    broker.terminate()?;
    unready(&broker).await?;
    let began = Instant::now();
    broker.terminate()?;
    let status = broker.wait_exit(WAIT_TIMEOUT).await?;
    assert_eq!(status.code(), Some(130));
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    Ok(())
}

/// `systemctl reload` and some supervisors send it. The broker notices changes by itself, and has no terminal here that was closed.
#[tokio::test]
async fn a_request_to_reload_ends_nothing() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = broker(&nats, 0, 1, 10).await?;
    let mut stream = open(&broker, Version::Http1).await?;
    for sent in 1..=2 {
        broker.hang_up()?;
        eventually("the broker says that it ignores it", WAIT_TIMEOUT, || async {
            (broker.log().matches("ignored SIGHUP").count() == sent).then_some(())
        })
        .await?;
    }
    assert_eq!(publish(&broker.events_url(""), "still there", &[]).await?.status, 201);
    assert_eq!(stream.next_of("message", WAIT_TIMEOUT).await?.data, "still there");
    broker.terminate()?;
    goodbye(&mut stream).await?;
    assert!(broker.wait_exit(WAIT_TIMEOUT).await?.success());
    Ok(())
}

/// A request may be under way for as long as its connection may live: what it asks for is not taken any more.
#[tokio::test]
async fn new_streams_are_rejected_at_once_during_the_drain() -> Result<()> {
    const GRACE: u64 = 8; // seconds; no request may be that late, or its connection is closed for that
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = broker(&nats, 0, 1, GRACE).await?;
    let mut other = open(&broker, Version::Http1).await?;
    let mut late = Http1Connection::connect(broker.address()).await?;
    late.send("GET /channels/default/demo/events HTTP/1.1\r\nHost: x\r\n").await?;
    let mut later = Http1Connection::connect(broker.address()).await?;
    later.send("GET /channels/default/demo/events HTTP/1.1\r\nHost: x\r\n").await?;
    let began = Instant::now();
    broker.terminate()?;
    stops_accepting(&broker).await?;
    let told = async |connection: &mut Http1Connection| -> Result<String> {
        connection.send("\r\n").await?;
        assert_eq!(connection.read_head().await?.status, 200);
        let body = timeout(Duration::from_secs(2), connection.body()).await;
        Ok(String::from_utf8(body.context("the stream does not end")??)?)
    };
    let text = told(&mut late).await?;
    ensure!(text.contains("event: eventcast.closing\ndata: {\"reason\":\"draining\""), "{text}");
    goodbye(&mut other).await?; // all streams are closed now
    let text = told(&mut later).await?;
    ensure!(text.contains("event: eventcast.closing\ndata: {\"reason\":\"draining\""), "{text}");
    assert!(broker.wait_exit(WAIT_TIMEOUT).await?.success());
    assert!(began.elapsed() < Duration::from_secs(GRACE - 2), "{:?}", began.elapsed());
    Ok(())
}
