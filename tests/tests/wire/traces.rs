//! Traces: the spans that a real OpenTelemetry Collector receives, and the traces of requests and events on their way through the log.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use async_nats::HeaderMap;
use eventcast_tests::{
    broker::Broker,
    collector::{Collector, Span},
    eventually,
    http::{Publish, Version, client},
    init_tracing, logs,
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};
use serde_json::{Value, json};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const STREAM: &str = "SSE_default_demo";

/// A trace that is not that of any other test, its `traceparent`, and the id of its span.
struct Trace {
    id: String,
    span: String,
}

impl Trace {
    fn new() -> Self {
        Self {
            id: format!("{:032x}", fastrand::u128(1..)),
            span: format!("{:016x}", fastrand::u64(1..)),
        }
    }

    fn header(&self) -> String {
        format!("00-{}-{}-01", self.id, self.span)
    }
}

/// Exports at once, and records nothing that does not begin with a sampled parent.
fn exporting(collector: &Collector) -> Vec<String> {
    vec![
        format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", collector.url()),
        "OTEL_BSP_SCHEDULE_DELAY=50".into(),
        "OTEL_TRACES_SAMPLER_ARG=0".into(),
        "EVENTCAST_LOG_FORMAT=json".into(),
    ]
}

async fn broker(nats: &NatsServer, collector: &Collector) -> Result<Broker> {
    Broker::start_with_variables(&nats.url(), exporting(collector), |config| {
        config.log.access = true;
        config.memory.tail_events = 16;
    })
    .await
}

async fn send(broker: &Broker, publish: Publish) -> Result<()> {
    let answer = publish.send(&client(Version::Http1), &broker.events_url("")).await?;
    ensure!(answer.status == 201, "{answer:?}");
    Ok(())
}

/// The `traceparent` of each stored message, in order.
async fn stored(nats: &NatsServer) -> Result<Vec<Option<String>>> {
    let mut stream = nats.jetstream().await?.get_stream(STREAM).await?;
    let last = stream.info().await?.state.last_sequence;
    let mut found = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await?;
        found.push(message.headers.get("traceparent").map(ToString::to_string));
    }
    Ok(found)
}

fn is(name: &str, trace: &Trace) -> impl Fn(&Span) -> bool {
    move |span| span.name == name && span.trace == trace.id
}

#[tokio::test]
async fn a_publish_is_one_trace_from_the_publisher_to_the_sockets() -> Result<()> {
    init_tracing();
    let (nats, collector) = (NatsServer::start().await?, Collector::start().await?);
    let mut broker = broker(&nats, &collector).await?;
    let mut stream = EventStream::connect(&broker.events_url(""), None).await?;
    let trace = Trace::new();
    let publish = Publish::new("one").header("traceparent", &trace.header());
    send(&broker, publish.header("tracestate", "vendor=1")).await?;
    stream.next_data(WAIT_TIMEOUT).await?;

    let send_span =
        collector.span("the span of the request", is("send default/demo", &trace)).await?;
    ensure!(send_span.parent == trace.span && send_span.kind == 4, "{send_span:?}");
    ensure!(
        send_span.service == "eventcast-broker" && send_span.state == "vendor=1",
        "{send_span:?}"
    );
    ensure!(send_span.attributes["messaging.system"] == "nats", "{send_span:?}");
    ensure!(send_span.attributes["eventcast.outcome"] == "stored", "{send_span:?}");
    ensure!(send_span.attributes["eventcast.sequence"] == 1, "{send_span:?}");
    let append = collector.span("the span of the attempt", is("append", &trace)).await?;
    ensure!(append.parent == send_span.id && append.kind == 3, "{append:?}");
    let fanout = collector.span("the span of the pass", is("fanout default/demo", &trace)).await?;
    ensure!(fanout.parent == send_span.id && fanout.kind == 5, "{fanout:?}");
    ensure!(fanout.attributes["eventcast.delivered"] == 1, "{fanout:?}");
    ensure!(fanout.attributes["eventcast.blocked"] == 0, "{fanout:?}");
    ensure!(fanout.attributes["eventcast.log_to_tail"].as_f64().is_some(), "{fanout:?}");
    let header = format!("00-{}-{}-01", trace.id, send_span.id);
    ensure!(stored(&nats).await? == [Some(header)], "the span of the request is stored");

    // Neither a request without a trace nor one whose trace is not recorded has spans.
    send(&broker, Publish::new("two")).await?;
    let unsampled = trace.header().replace("-01", "-00");
    send(&broker, Publish::new("three").header("traceparent", &unsampled)).await?;
    stream.next_data(WAIT_TIMEOUT).await?;
    stream.next_data(WAIT_TIMEOUT).await?;
    ensure!(stored(&nats).await?[1..] == [None, None]);

    broker.terminate()?;
    broker.wait_exit(Duration::from_secs(40)).await?;
    let spans = collector.spans()?;
    ensure!(spans.len() == 3, "{spans:#?}");
    let lines = logs::lines(&broker.log())?;
    logs::check(&lines)?;
    let line = lines.iter().find(|line| line["message"] == "request").context("no line")?;
    ensure!(line["trace_id"] == trace.id && line["span_id"] == send_span.id, "{line:?}");
    Ok(())
}

#[tokio::test]
async fn a_subscriber_is_a_span_until_its_first_byte_and_its_pages_are_below() -> Result<()> {
    init_tracing();
    let (nats, collector) = (NatsServer::start().await?, Collector::start().await?);
    let broker = broker(&nats, &collector).await?;
    for n in 0..64 {
        send(&broker, Publish::new(format!("{n}"))).await?;
    }
    for version in [Version::Http1, Version::Http2] {
        let trace = Trace::new();
        let mut stream = EventStream::open(Subscribe {
            url: broker.events_url("from=earliest"),
            version,
            headers: vec![("traceparent".into(), trace.header())],
            ..Subscribe::default()
        })
        .await?;
        let span = collector.span("a subscriber", is("subscribe default/demo", &trace)).await?;
        ensure!(span.parent == trace.span && span.kind == 2, "{span:?}");
        ensure!(span.attributes["eventcast.start"] == "earliest", "{span:?}");
        ensure!(span.attributes["eventcast.replay_source"] == "pages", "{span:?}");
        ensure!(span.attributes["http.response.status_code"] == 200, "{span:?}");
        for _ in 0..64 {
            stream.next_data(WAIT_TIMEOUT).await?;
        }
        if version == Version::Http1 {
            let page = collector.span("a page", is("page", &trace)).await?;
            ensure!(page.parent == span.id && page.attributes["eventcast.tries"] == 1, "{page:?}");
            ensure!(page.attributes["eventcast.page.first"] == 1, "{page:?}");
        }
        // It is open, and its span is over.
        ensure!(stream.cut().is_some());
        let line = eventually("the end of the stream is logged", WAIT_TIMEOUT, || async {
            let lines = logs::lines(&broker.log())?;
            let is_end = |line: &&logs::Line| {
                line["message"] == "stream ended" && line["trace_id"] == trace.id.as_str()
            };
            lines.iter().find(is_end).cloned().context("no line")
        });
        ensure!(line.await?["span_id"] == span.id);
    }
    Ok(())
}

#[tokio::test]
async fn every_way_in_has_a_place_for_the_trace_of_an_event() -> Result<()> {
    init_tracing();
    let (nats, collector) = (NatsServer::start().await?, Collector::start().await?);
    let broker = broker(&nats, &collector).await?;
    let (request, event) = (Trace::new(), Trace::new());
    let cloudevent = json!({
        "specversion": "1.0", "id": "1", "type": "t", "source": "/s", "traceparent": event.header(),
    });
    let structured = Publish::new(cloudevent.to_string())
        .header("Content-Type", "application/cloudevents+json")
        .header("traceparent", &request.header());
    send(&broker, structured).await?;
    let span = collector.span("the request", is("send default/demo", &request)).await?;
    ensure!(span.links == [(event.id.clone(), event.span.clone())], "{span:?}");

    // Its only trace: the request is part of it.
    let alone = Trace::new();
    let mut binary = Publish::new("{}").header("Content-Type", "application/json");
    for (name, value) in [("specversion", "1.0"), ("id", "2"), ("type", "t"), ("source", "/s")] {
        binary = binary.header(&format!("ce-{name}"), value);
    }
    send(&broker, binary.header("ce-traceparent", &alone.header())).await?;
    let span = collector.span("its request", is("send default/demo", &alone)).await?;
    ensure!(span.parent == alone.span, "{span:?}");

    let line = Trace::new();
    let lines = [json!({"data": 1, "traceparent": line.header()}), json!({"data": 2})];
    let lines = lines.map(|line| line.to_string()).join("\n");
    let batch = Publish::new(lines).header("Content-Type", "application/x-ndjson");
    let of_batch = Trace::new();
    send(&broker, batch.header("traceparent", &of_batch.header())).await?;
    let batch = collector.span("the batch", is("send default/demo", &of_batch)).await?;
    ensure!(batch.attributes["messaging.batch.message_count"] == 2, "{batch:?}");

    let straight = Trace::new();
    let mut stream = EventStream::connect(&broker.events_url(""), None).await?;
    let mut headers = HeaderMap::new();
    headers.insert("Traceparent", straight.header().as_str());
    let jetstream = nats.jetstream().await?;
    jetstream.publish_with_headers("sse.default.demo.all", headers, "x".into()).await?.await?;
    stream.next_data(WAIT_TIMEOUT).await?;
    let fanout = collector.span("its pass", is("fanout default/demo", &straight)).await?;
    ensure!(fanout.parent == straight.span, "{fanout:?}");

    let of_request = format!("00-{}-{}-01", of_batch.id, batch.id);
    let expected = [event.header(), alone.header(), line.header(), of_request].map(Some);
    ensure!(stored(&nats).await?[..4] == expected, "{:?}", stored(&nats).await?);
    Ok(())
}

#[tokio::test]
async fn hostile_traces_are_ignored_and_never_an_error() -> Result<()> {
    init_tracing();
    let (nats, collector) = (NatsServer::start().await?, Collector::start().await?);
    let broker = broker(&nats, &collector).await?;
    let valid = Trace::new().header();
    let upper = valid.replace('-', "-A").to_uppercase();
    let long = format!("{valid}-{}", "x".repeat(4000));
    let zero = format!("00-{}-{}-01", "0".repeat(32), "1".repeat(16));
    let hostile =
        ["", "00", "ff-", &zero, &upper, &long, "\u{e9}", "00-x-y-01\tz", "-".repeat(55).as_str()]
            .map(str::to_owned);
    for value in &hostile {
        if value.is_ascii() {
            send(&broker, Publish::new("x").header("traceparent", value)).await?;
        }
        let line = json!({"data": 1, "traceparent": value});
        let batch = Publish::new(line.to_string()).header("Content-Type", "application/x-ndjson");
        send(&broker, batch).await?;
        let cloudevent = json!({
            "specversion": "1.0", "id": value.len().to_string(), "type": "t", "source": "/s", "traceparent": value,
        });
        let cloudevent = Publish::new(cloudevent.to_string());
        send(&broker, cloudevent.header("Content-Type", "application/cloudevents+json")).await?;
    }
    for value in [json!(7), json!([]), json!({"a": null}), Value::Null] {
        let line = json!({"data": 1, "traceparent": value});
        let batch = Publish::new(line.to_string()).header("Content-Type", "application/x-ndjson");
        send(&broker, batch).await?;
    }
    // Twice is not once, and a bad tracestate does not spoil a good parent.
    let twice = Publish::new("x").header("traceparent", &valid).header("traceparent", &valid);
    send(&broker, twice).await?;
    ensure!(stored(&nats).await?.iter().all(Option::is_none), "{:?}", stored(&nats).await?);
    ensure!(collector.spans()?.is_empty());
    let trace = Trace::new();
    let state = format!("=,{}", "a=b,".repeat(2000));
    let publish = Publish::new("x").header("traceparent", &trace.header());
    send(&broker, publish.header("tracestate", &state)).await?;
    let span = collector.span("the request", is("send default/demo", &trace)).await?;
    ensure!(span.parent == trace.span && span.state.is_empty(), "{span:?}");
    Ok(())
}

/// The threads of a broker that export.
fn exporters(broker: &Broker) -> Result<usize> {
    let tasks = fs::read_dir(format!("/proc/{}/task", broker.pid()?))?;
    let names = tasks.map(|task| Ok(fs::read_to_string(task?.path().join("comm"))?));
    let names: Vec<_> = names.collect::<Result<_>>()?;
    Ok(names.iter().filter(|name| name.starts_with("OpenTelemetry")).count())
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_exported_and_traces_pass_through() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |_| {}).await?;
    let trace = Trace::new();
    send(&broker, Publish::new("x").header("traceparent", &trace.header())).await?;
    ensure!(stored(&nats).await? == [Some(trace.header())], "the next system can go on with it");
    ensure!(exporters(&broker)? == 0 && !broker.log().contains("exporting traces"));
    let collector = Collector::start().await?;
    let exporting = self::broker(&nats, &collector).await?;
    ensure!(exporters(&exporting)? == 1, "this is how an exporter is found");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_down_costs_a_line_in_the_log() -> Result<()> {
    init_tracing();
    let (nats, mut collector) = (NatsServer::start().await?, Collector::absent()?);
    let broker = broker(&nats, &collector).await?;
    let failures = || broker.log().matches("cannot export traces").count();
    for _ in 0..20 {
        send(&broker, Publish::new("x").header("traceparent", &Trace::new().header())).await?;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    eventually("the failure is logged", WAIT_TIMEOUT, || async { (failures() > 0).then_some(()) })
        .await?;
    collector.run().await?;
    let trace = Trace::new();
    send(&broker, Publish::new("x").header("traceparent", &trace.header())).await?;
    collector.span("a span after the outage", is("send default/demo", &trace)).await?;
    ensure!(failures() == 1, "one line a minute:\n{}", broker.log());
    Ok(())
}

#[tokio::test]
async fn the_last_spans_are_exported_when_the_broker_ends() -> Result<()> {
    init_tracing();
    let (nats, collector) = (NatsServer::start().await?, Collector::start_with_tls().await?);
    let variables = vec![
        "OTEL_BSP_SCHEDULE_DELAY=600000".into(),
        "OTEL_SERVICE_NAME=shop-broker".into(),
        format!("OTEL_EXPORTER_OTLP_CERTIFICATE={}", collector.authorities().display()),
    ];
    let url = collector.url();
    let mut broker = Broker::start_with_variables(&nats.url(), variables, |config| {
        config.telemetry.otlp.endpoint = Some(url);
        config.telemetry.otlp.sample_ratio = Some(1.0);
    })
    .await?;
    send(&broker, Publish::new("x")).await?;
    ensure!(collector.spans()?.is_empty());
    broker.terminate()?;
    broker.wait_exit(Duration::from_secs(40)).await?;
    let span = collector.span("a root", |span| span.name == "send default/demo").await?;
    ensure!(span.parent.is_empty() && span.service == "shop-broker", "{span:?}");
    Ok(())
}
