//! Where the trace of an event can be found again: history, and comments on streams.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Broker,
    http::{Answer, Publish, Version, client},
    init_tracing,
    nats::NatsServer,
    sse::EventStream,
};
use tokio::time::timeout;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-01";

/// Publishes an event in a trace, and one without.
async fn two_events(broker: &Broker) -> Result<()> {
    let traced = Publish::new("a\nb").kind("t").header("traceparent", TRACE);
    for publish in [traced, Publish::new("plain")] {
        let answer = publish.send(&client(Version::Http1), &broker.events_url("")).await?;
        ensure!(answer.status == 201, "{answer:?}");
    }
    Ok(())
}

/// The text of a stream from the first event to the one without a trace.
async fn replay(broker: &Broker, version: Version) -> Result<String> {
    let request = client(version).get(broker.events_url("from=earliest"));
    let mut answer = request.header("Accept", "text/event-stream").send().await?;
    let mut text = String::new();
    while !text.contains("data: plain\n") {
        let chunk = timeout(WAIT_TIMEOUT, answer.chunk()).await??.context("it has ended")?;
        text += std::str::from_utf8(&chunk)?;
    }
    Ok(text)
}

#[tokio::test]
async fn history_has_the_trace_of_an_event() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |_| {}).await?;
    two_events(&broker).await?;
    let request = client(Version::Http1).get(broker.events_url(""));
    let answer = Answer::read(request.header("Accept", "application/json").send().await?).await?;
    let events = answer.json["events"].as_array().context("no events")?;
    ensure!(events[0]["traceparent"] == TRACE && events[0]["data"] == "a\nb", "{}", answer.json);
    ensure!(events[1].get("traceparent").is_none(), "{}", answer.json);
    Ok(())
}

#[tokio::test]
async fn a_stream_has_the_trace_as_a_comment_if_the_channel_wants_it() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start(&nats.url(), |config| {
        config.channels[0].delivery.trace_comments = true;
    })
    .await?;
    // Live, and from the log.
    let mut live = EventStream::connect(&broker.events_url(""), None).await?;
    two_events(&broker).await?;
    let comment = format!("\n\n: traceparent {TRACE}\nevent: t\ndata: a\ndata: b\nid: ");
    live.next_data(WAIT_TIMEOUT).await?;
    live.next_data(WAIT_TIMEOUT).await?;
    for version in [Version::Http1, Version::Http2] {
        let text = replay(&broker, version).await?;
        ensure!(text.contains(&comment) && text.matches("traceparent").count() == 1, "{text}");
    }
    ensure!(live.comments() == 2, "one opens the stream, one is the trace: {}", live.comments());

    broker.reconfigure(|config| config.channels[0].delivery.trace_comments = false)?;
    let end = live.next_of("eventcast.closing", WAIT_TIMEOUT).await?;
    ensure!(end.json()?["reason"] == "channel-removed", "{end:?}");
    let url = broker.events_url("from=earliest");
    let mut stream = EventStream::connect(&url, None).await?;
    stream.next_data(WAIT_TIMEOUT).await?;
    let text = replay(&broker, Version::Http1).await?;
    ensure!(text.contains("\n\nevent: t\ndata: a\n") && !text.contains("traceparent"), "{text}");
    Ok(())
}
