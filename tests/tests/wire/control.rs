//! The control port: open streams, closing them, the log level, draining; and that nobody but programs on the same machine is served.
//! Through `eventcast` where it has a command for it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::Access;
use eventcast_tests::{
    broker::{Broker, Cli, Ended},
    eventually,
    http::{Http1Connection, Publish, Version, client},
    init_tracing,
    issuer::{Issuer, bearer, subscribe},
    nats::NatsServer,
    sse::EventStream,
    wire::{BrokerWithNats, EVENTS},
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

const WAIT: Duration = Duration::from_secs(30);
const DEMO: &str = "default/demo";

async fn run(broker: &Broker, arguments: &[&str]) -> Result<Ended> {
    let cli = Cli::eventcast(arguments).without("EVENTCAST_URL").without("EVENTCAST_TOKEN");
    cli.env("EVENTCAST_CONTROL_URL", broker.control_url("")).output(WAIT).await
}

/// Runs a command that must succeed, and returns its output.
async fn succeed(broker: &Broker, arguments: &[&str]) -> Result<String> {
    let ended = run(broker, arguments).await?;
    ensure!(ended.status.success(), "{arguments:?}: {} {}", ended.status, ended.stderr);
    Ok(ended.stdout)
}

async fn connections(broker: &Broker, arguments: &[&str]) -> Result<Vec<Value>> {
    let words = [&["connections", DEMO, "-o", "json"], arguments].concat();
    Ok(serde_json::from_str(&succeed(broker, &words).await?)?)
}

fn ids(connections: &[Value]) -> Vec<&str> {
    connections.iter().filter_map(|connection| connection["id"].as_str()).collect()
}

async fn closing(stream: &mut EventStream) -> Result<Value> {
    Ok(stream.next_of("eventcast.closing", WAIT).await?.json()?["reason"].clone())
}

#[tokio::test]
async fn streams_are_listed_and_closed() -> Result<()> {
    let issuer = Issuer::new()?;
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].access = Access { tokens: vec![issuer.trusted()], ..Access::default() };
    })
    .await?;
    let (ann, admin) = (issuer.user("ann"), issuer.admin());
    let url = |query: &str| broker.events_url(query);
    let mut anns = subscribe(&url(""), &ann, Version::Http1).await?;
    let filtered = url("topic=user.bob&type=note");
    let mut bobs = subscribe(&filtered, &issuer.user("bob"), Version::Http2).await?;
    let mut admins = subscribe(&url(""), &admin, Version::Http2).await?;
    let (name, value) = bearer(&admin);
    let event = Publish::new("hello").header(&name, &value);
    event.send(&client(Version::Http1), &url("")).await?;
    admins.next_data(WAIT).await?;
    anns.next_data(WAIT).await?;

    let all = connections(&broker, &[]).await?;
    ensure!(all.len() == 3, "{all:?}");
    let of = |subject: &str| {
        let mut found = all.iter().filter(|connection| connection["subject"] == subject);
        found.next().with_context(|| format!("no {subject}: {all:?}"))
    };
    let (listed_ann, listed_bob) = (of("ann")?, of("bob")?);
    ensure!(listed_ann["protocol"] == "HTTP/1.1" && listed_bob["protocol"] == "HTTP/2", "{all:?}");
    ensure!(listed_ann["client"] == "127.0.0.1" && listed_ann["channel"] == DEMO, "{all:?}");
    ensure!(listed_ann["state"] == "live" && listed_ann["behind_events"] == 0, "{all:?}");
    ensure!(listed_ann["events"] == 1 && listed_bob["events"] == 0, "{all:?}");
    ensure!(listed_ann["bytes"].as_u64().is_some_and(|bytes| bytes > 20), "{all:?}");
    ensure!(listed_bob["types"] == json!(["note"]), "{all:?}");
    ensure!(
        listed_bob["topics"].as_str().is_some_and(|topics| topics.contains("user.bob")),
        "{all:?}"
    );
    let by_subject = connections(&broker, &["--subject", "ann"]).await?;
    ensure!(ids(&by_subject) == [listed_ann["id"].as_str().unwrap_or_default()], "{by_subject:?}");
    ensure!(connections(&broker, &["--topic", "user.bob"]).await?.len() == 1, "by topic");
    let limited = run(&broker, &["connections", "--limit", "1", "-o", "jsonl"]).await?;
    ensure!(
        limited.stdout.lines().count() == 1 && limited.stderr.contains("1 of 3"),
        "{limited:?}"
    );
    let wide = succeed(&broker, &["connections", "demo", "-o", "wide"]).await?;
    ensure!(wide.starts_with("ID ") && wide.contains("user.bob"), "{wide}");
    let yaml = succeed(&broker, &["connections", "-o", "yaml", "--subject", "bob"]).await?;
    ensure!(yaml.contains("subject: bob"), "{yaml}");

    let nobody = "000000000000000000000000";
    let id = listed_ann["id"].as_str().unwrap_or_default();
    let missing = run(&broker, &["kick", DEMO, nobody, id]).await?;
    ensure!(
        missing.status.code() == Some(1) && missing.stderr.contains("1 id of no"),
        "{missing:?}"
    );
    ensure!(closing(&mut anns).await? == "disconnected", "the reason");
    succeed(&broker, &["kick", DEMO, "--topic", "user.bob"]).await?;
    ensure!(closing(&mut bobs).await? == "disconnected", "the reason");
    let mut again = subscribe(&url(""), &ann, Version::Http1).await?;
    let closed = succeed(&broker, &["kick", DEMO, "--subject", "ann", "-o", "jsonl"]).await?;
    ensure!(closed.contains("\"closed\":1"), "{closed}");
    ensure!(closing(&mut again).await? == "disconnected", "the reason");
    eventually("one stream is left", WAIT, || async {
        let left = connections(&broker, &[]).await?;
        ensure!(left.len() == 1 && left[0]["subject"] != "ann", "{left:?}");
        Ok(())
    })
    .await?;
    succeed(&broker, &["kick", DEMO, "--all"]).await?;
    ensure!(closing(&mut admins).await? == "disconnected", "the reason");
    for wrong in [&["kick", DEMO][..], &["kick", DEMO, "--all", "--subject", "a"]] {
        ensure!(run(&broker, wrong).await?.status.code() == Some(64), "{wrong:?}");
    }
    let unknown = run(&broker, &["connections", "default/others"]).await?;
    ensure!(unknown.status.code() == Some(1), "{unknown:?}");
    ensure!(unknown.stderr.contains("does not serve"), "{unknown:?}");
    Ok(())
}

#[tokio::test]
async fn a_stream_whose_client_does_not_read_is_found() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut reading = EventStream::connect(&broker.events_url(""), None).await?;
    let mut idle = Http1Connection::connect_with(broker.address(), Some(4096)).await?;
    idle.send(format!("GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await?;
    idle.read_head().await?;
    let data = "x".repeat(60_000);
    for _ in 0..200 {
        broker.publish(data.clone()).await?;
        reading.next_data(WAIT).await?;
    }
    eventually("the stream that is not read is slow, and the other is not", WAIT, || async {
        let slow = connections(&broker, &["--slow"]).await?;
        ensure!(slow.len() == 1, "{slow:?}");
        ensure!(slow[0]["state"] == "blocked" && slow[0]["behind_events"] != 0, "{slow:?}");
        ensure!(slow[0]["blocked_seconds"].as_f64().is_some(), "{slow:?}");
        Ok(())
    })
    .await?;
    let all = connections(&broker, &[]).await?;
    let read = all.iter().find(|connection| connection["behind_events"] == 0);
    let read = read.with_context(|| format!("{all:?}"))?;
    ensure!(read["events"] == 200 && read["bytes"].as_u64() > Some(200 * 60_000), "{all:?}");
    Ok(())
}

#[tokio::test]
async fn the_log_filter_is_replaced_for_a_time() -> Result<()> {
    let mut broker = BrokerWithNats::start(|_| {}).await?;
    let level = |text: &str| -> Result<Value> { Ok(serde_json::from_str(text)?) };
    let set = ["log-level", "eventcast_broker=debug", "--for", "60s", "-o", "jsonl"];
    let replaced = level(&succeed(&broker, &set).await?)?;
    ensure!(replaced["filter"] == "eventcast_broker=debug", "{replaced}");
    ensure!(replaced["temporary"] == true && replaced["seconds_left"] == 60, "{replaced}");
    drop(EventStream::connect(&broker.events_url(""), None).await?);
    eventually("the end of a stream is logged at debug", WAIT, || async {
        broker.log().contains("stream ended").then_some(())
    })
    .await?;
    broker.reconfigure(|config| config.log.level = Some("warn".into()))?;
    succeed(&broker, &["log-level", "error", "--for", "1s"]).await?;
    eventually("what is configured applies again", WAIT, || async {
        let now = level(&succeed(&broker, &["log-level", "-o", "jsonl"]).await?)?;
        ensure!(now["filter"] == "warn" && now["temporary"] == false, "{now}");
        Ok(())
    })
    .await?;
    let forever = succeed(&broker, &["log-level", "error"]).await?;
    ensure!(forever.contains("restart") && forever.contains("warn"), "{forever}");
    let reset = level(&succeed(&broker, &["log-level", "--reset", "-o", "jsonl"]).await?)?;
    ensure!(reset["filter"] == "warn", "{reset}");
    let wrong = run(&broker, &["log-level", "inof"]).await?;
    ensure!(wrong.status.code() == Some(1), "{wrong:?}");
    ensure!(wrong.stderr.contains("inof is not a level"), "{wrong:?}");
    let wrong = run(&broker, &["log-level", "info", "--for", "2d"]).await?;
    ensure!(wrong.stderr.contains("at most 24h"), "{wrong:?}");
    Ok(())
}

#[tokio::test]
async fn a_drain_is_a_shutdown() -> Result<()> {
    let mut broker = BrokerWithNats::start(|config| config.shutdown.delay_seconds = 4).await?;
    let mut stream = EventStream::connect(&broker.events_url(""), None).await?;
    let told = succeed(&broker, &["drain"]).await?;
    ensure!(told.contains("closes 1 stream within 1 s"), "{told}");
    let again = succeed(&broker, &["drain"]).await?;
    ensure!(again.contains("draining already"), "{again}");
    eventually("/readyz fails", WAIT, || async {
        let ready = client(Version::Http1).get(broker.admin_url("/readyz")).send().await?;
        ensure!(ready.status() == 503, "{}", ready.status());
        Ok(())
    })
    .await?;
    ensure!(closing(&mut stream).await? == "draining", "the reason");
    ensure!(broker.wait_exit(WAIT).await?.success(), "it ends well");
    Ok(())
}

#[tokio::test]
async fn only_programs_on_the_same_machine_are_served() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let http = client(Version::Http1);
    let url = broker.control_url("/connections");
    for (name, value) in [
        ("origin", "https://example.com"),
        ("sec-fetch-site", "cross-site"),
        ("host", "example.com"),
    ] {
        let refused = http.get(&url).header(name, value).send().await?;
        ensure!(refused.status() == 403, "{name}: {}", refused.status());
        ensure!(refused.headers().get("access-control-allow-origin").is_none(), "{name}");
    }
    ensure!(http.get(&url).send().await?.status() == 200);
    let port = url.split(':').nth(2).and_then(|rest| rest.split('/').next()).context("no port")?;
    ensure!(TcpStream::connect(format!("127.0.0.2:{port}")).await.is_err(), "another address");
    for (method, path, body, status) in [
        ("GET", "/connections?chanel=a/b", "", 400),
        ("GET", "/connections?channel=a/b", "", 404),
        ("POST", "/connections", "", 405),
        ("POST", "/connections/close", "{}", 400),
        ("POST", "/connections/close", r#"{"subjekt": "ann"}"#, 400),
        ("POST", "/connections/close", r#"{"ids": ["7"]}"#, 400),
        ("GET", "/drain", "", 405),
        ("PUT", "/log-level", r#"{"filter": "loud"}"#, 400),
        ("GET", "/metrics", "", 404),
    ] {
        let request = http.request(method.parse()?, broker.control_url(path)).body(body);
        let answer = request.send().await?;
        ensure!(answer.status() == status, "{method} {path}: {}", answer.status());
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        ensure!(answer["error"].is_string(), "{method} {path}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_goes_on_without_a_control_port() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let first = Broker::start(&nats.url(), |_| {}).await?;
    let url = first.control_url("");
    let port: u16 = url.rsplit(':').next().context("no port")?.parse()?;
    let second = Broker::start(&nats.url(), |config| config.control_port = Some(port)).await?;
    ensure!(second.log().contains("there is no control port"), "{}", second.log());
    let off = Broker::start(&nats.url(), |config| config.control_port = None).await?;
    ensure!(!off.log().contains("control port"), "{}", off.log());
    Ok(())
}
