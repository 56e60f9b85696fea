//! The configuration: what `check` reports, which source takes precedence, and what changes while a broker runs.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::{Broker, Cli, Ended, RawKeys, open_channel},
    eventually,
    http::{Answer, Version, client, publish},
    init_tracing,
    nats::NatsServer,
    ports, process,
    sse::EventStream,
};
use serde_json::json;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const EXIT_USAGE: i32 = 64;

/// What `check` says of a file, with overrides.
async fn check(yaml: &str, override_with: impl FnOnce(Cli) -> Cli) -> Result<Ended> {
    let folder = process::folder("eventcast-check-")?;
    let file = folder.path().join("config.yaml");
    fs::write(&file, yaml)?;
    let command = Cli::new(&["check", "--config"]).arg(&file);
    override_with(command).output(WAIT_TIMEOUT).await
}

async fn refused(yaml: &str, paths: &[&str]) -> Result<()> {
    let ended = check(yaml, |command| command).await?;
    assert_eq!(ended.status.code(), Some(EXIT_USAGE), "{yaml}\n{}", ended.stderr);
    for path in paths {
        assert!(ended.stderr.contains(&format!("{path}: ")), "{path} not in\n{}", ended.stderr);
    }
    assert_eq!(ended.stderr.lines().count(), paths.len(), "a line each:\n{}", ended.stderr);
    Ok(())
}

const VALID: &str = "channels: [{namespace: default, name: demo}]\n";

#[tokio::test]
async fn check_names_every_problem_with_its_path() -> Result<()> {
    init_tracing();
    assert!(check(VALID, |command| command).await?.status.success());
    refused(
        &format!("{VALID}colour: red\nlimits: {{subscriber: 1}}"),
        &["colour", "limits.subscriber"],
    )
    .await?;
    refused(&format!("{VALID}limits: {{subscribers: lots}}"), &["limits.subscribers"]).await?;
    let channel = "{namespace: Default, name: demo, delivery: {heartbeatSeconds: 0}}";
    refused(
        &format!("channels: [{channel}]\nquery: {{concurrent: 0}}"),
        &["channels[0].namespace", "channels[0].delivery.heartbeatSeconds", "query.concurrent"],
    )
    .await?;
    refused("channels: []", &["channels"]).await // as `run` would refuse it
}

#[tokio::test]
async fn unknown_keys_and_bad_values_are_reported_together() -> Result<()> {
    init_tracing();
    let file = format!("{VALID}colour: red\nquery: {{concurrent: 0}}");
    refused(&file, &["colour", "query.concurrent"]).await
}

/// Unknown keys, wrong types, bad values and overrides, in the file, the environment and flags.
#[tokio::test]
async fn a_key_has_one_spelling_in_every_message() -> Result<()> {
    init_tracing();
    let channel = |more: &str| format!("channels: [{{namespace: a, name: b, {more}}}]");
    for (file, path) in [
        (channel("delivery: {form: latest}"), "channels[0].delivery.form"),
        (channel("delivery: {from: never}"), "channels[0].delivery.from"),
        (channel("delivery: {stallSeconds: soon}"), "channels[0].delivery.stallSeconds"),
        (channel("access: {anonymous: [Nobody]}"), "channels[0].access.anonymous[0]"),
        (
            channel("access: {allowedOrigins: ['https://*.com']}"),
            "channels[0].access.allowedOrigins[0]",
        ),
        (
            channel(
                "access: {tokens: [{issuer: i, audience: a, jwksUrl: 'https://i.example/keys', kid: 1}]}",
            ),
            "channels[0].access.tokens[0].kid",
        ),
        (channel("publishing: {types: ['>.paid']}"), "channels[0].publishing.types[0]"),
    ] {
        refused(&file, &[path]).await?;
    }
    for (set, path) in [
        ("channels.0.delivery.form=latest", "channels[0].delivery.form"),
        ("channels[0].delivery.form=latest", "channels[0].delivery.form"),
        ("channels.0.delivery.from=never", "channels[0].delivery.from"),
        ("channels.3.name=x", "channels[3].name"),
    ] {
        let ended = check(VALID, |command| command.arg("--set").arg(set)).await?;
        assert_eq!(ended.status.code(), Some(EXIT_USAGE), "{set}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{path}: ")), "{set}: {}", ended.stderr);
    }
    let env = check(VALID, |command| command.env("EVENTCAST__CHANNELS__0__COLOUR", "red")).await?;
    assert!(env.stderr.contains("channels[0].colour: "), "{}", env.stderr);
    Ok(())
}

#[tokio::test]
async fn flags_win_over_the_environment_and_that_over_the_file() -> Result<()> {
    init_tracing();
    let key = "EVENTCAST__QUERY__CONCURRENT";
    let (set_good, set_bad) = ("query.concurrent=4", "query.concurrent=0");
    let bad_file = &*format!("{VALID}query: {{concurrent: 0}}");
    let code = async |file: &str, env: Option<&str>, set: Option<&str>| {
        let command = |mut command: Cli| {
            if let Some(value) = env {
                command = command.env(key, value);
            }
            set.into_iter().fold(command, |command, set| command.arg("--set").arg(set))
        };
        anyhow::Ok(check(file, command).await?.status.code())
    };
    assert_eq!(code(bad_file, None, None).await?, Some(EXIT_USAGE));
    assert_eq!(code(bad_file, Some("4"), None).await?, Some(0));
    assert_eq!(code(VALID, Some("0"), None).await?, Some(EXIT_USAGE));
    assert_eq!(code(VALID, Some("0"), Some(set_good)).await?, Some(0));
    assert_eq!(code(VALID, Some("4"), Some(set_bad)).await?, Some(EXIT_USAGE));
    let typo = check(VALID, |command| command.env("EVENTCAST__LIMITS__SUBSCRIBER", "1")).await?;
    assert!(typo.stderr.contains("limits.subscriber: "), "{}", typo.stderr);
    Ok(())
}

#[tokio::test]
async fn check_asks_nats_only_where_it_is_told_to() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    let large = format!(
        "nats: {{servers: ['{}']}}\n\
         channels: [{{namespace: default, name: demo, publishing: {{maxEventBytes: 2097152}}}}]\n",
        nats.url()
    );
    assert!(check(&large, |command| command).await?.status.success());
    let said = check(&large, |command| command.arg("--nats")).await?;
    assert_eq!(said.status.code(), Some(1), "{}", said.stderr);
    let words = "channel default/demo: publishing.maxEventBytes is 2097152, but NATS accepts messages of at most 1048576";
    assert!(said.stderr.contains(words), "{}", said.stderr);
    let small = large.replace("2097152", "1000000");
    let said = check(&small, |command| command.arg("--nats")).await?;
    assert!(said.status.success(), "{}", said.stderr);
    nats.kill9()?;
    let folder = process::folder("eventcast-check-")?;
    fs::write(folder.path().join("config.yaml"), small)?;
    let command = Cli::new(&["check", "--nats", "--config"]).arg(folder.path().join("config.yaml"));
    let said = command.output(WAIT_TIMEOUT * 2).await?;
    assert_eq!(said.status.code(), Some(1));
    assert!(said.stderr.contains("no connection to NATS at nats://127.0.0.1"), "{}", said.stderr);
    Ok(())
}

#[tokio::test]
async fn a_starting_broker_warns_that_nats_rejects_its_largest_events() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.channels[0].publishing.max_event_bytes = 2 << 20;
    })
    .await?;
    eventually("it says so", WAIT_TIMEOUT, || async {
        let log = broker.log();
        let said = |l: &str| l.contains("WARN") && l.contains("set max_payload of nats-server to");
        ensure!(log.lines().any(said), "{log}");
        anyhow::Ok(())
    })
    .await
}

#[tokio::test]
async fn a_running_broker_obeys_its_overrides() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let (folder, ports) = (process::folder("eventcast-run-")?, ports::reserve(2)?);
    let file = folder.path().join("config.yaml");
    let open = VALID.replace("name: demo", "name: demo, access: {anonymous: [Subscribe]}");
    fs::write(&file, format!("{open}listen: 127.0.0.1:1\nlimits: {{overload: status}}"))?;
    let nats = format!("nats={{servers: ['{}'], createStreams: true}}", nats.url());
    let address = format!("127.0.0.1:{}", ports[0]);
    let command = Cli::new(&["run", "--listen", &address, "--set", &nats, "--admin"])
        .arg(format!("127.0.0.1:{}", ports[1]))
        .env("EVENTCAST_CONFIG", &file)
        .env("EVENTCAST__LIMITS__SUBSCRIBERS", "1");
    let process = command.spawn("run", folder.path())?;
    let url = format!("http://{address}/channels/default/demo/events");
    let first = eventually("it serves", WAIT_TIMEOUT, || EventStream::connect(&url, None)).await;
    let _first = first.with_context(|| process.stderr())?;
    let second = client(Version::Http1).get(&url).send().await?;
    assert_eq!(second.status(), 503, "the one place is taken");
    Ok(())
}

#[tokio::test]
async fn a_running_broker_warns_of_unknown_keys_and_counts_them() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let unknown =
        RawKeys::from([("/colour", json!("red")), ("/channels/0/access/cookies", json!([]))]);
    let mut broker = Broker::start_with_raw_keys(&nats.url(), unknown).await?;
    assert_eq!(broker.metric("eventcast_config_unknown_keys", &[]).await?, 2.0);
    for key in ["colour", "channels[0].access.cookies"] {
        let said = |line: &str| line.contains("WARN") && line.contains(key);
        assert!(broker.log().lines().any(said), "{key} not in {}", broker.log());
    }
    broker.set_raw_keys(RawKeys::from([("/channels/0/access/cookies", json!([]))]))?;
    reloads(&broker, "applied", 1).await?;
    assert_eq!(broker.metric("eventcast_config_unknown_keys", &[]).await?, 1.0);
    Ok(())
}

/// For every file with credentials, the last log line names the file and says what is wrong with it.
#[tokio::test]
async fn a_file_of_nats_that_cannot_be_read_is_named_with_the_reason() -> Result<()> {
    init_tracing();
    let ports = ports::reserve(2)?;
    let [listen, admin] = [ports[0], ports[1]].map(|port| format!("127.0.0.1:{port}"));
    for (keys, broken) in [
        ("user: u, passwordFile: /nowhere/password", "/nowhere/password"),
        ("tokenFile: /nowhere/token", "/nowhere/token"),
        ("credentialsFile: /nowhere/nats.creds", "/nowhere/nats.creds"),
        ("caFile: /nowhere/ca.crt", "/nowhere/ca.crt"),
        ("certificateFile: /nowhere/tls.crt, keyFile: /nowhere/tls.key", "/nowhere/tls.crt"),
    ] {
        let folder = process::folder("eventcast-run-")?;
        let file = folder.path().join("config.yaml");
        fs::write(&file, format!("{VALID}nats: {{servers: ['nats://127.0.0.1:4'], {keys}}}"))?;
        let command = Cli::new(&["run", "--listen", &listen, "--admin", &admin, "--config"]);
        let ended = command.arg(&file).output(WAIT_TIMEOUT).await?;
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        let last = ended.stderr.lines().last().context("no word")?;
        assert!(last.contains(broken) && last.contains("No such file"), "{last}");
    }
    Ok(())
}

async fn reloads(broker: &Broker, outcome: &str, count: u32) -> Result<()> {
    eventually(&format!("{count} {outcome}"), WAIT_TIMEOUT, || async {
        let have = broker.metric("eventcast_config_reloads_total", &[("outcome", outcome)]).await?;
        ensure!(have >= f64::from(count), "{have} {outcome}\n{}", broker.log());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_changes_holds_for_new_subscribers_without_a_restart() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start(&nats.url(), |_| {}).await?;
    let (pid, url) = (broker.pid()?, broker.events_url("heartbeat=event"));
    let mut old = EventStream::connect(&url, None).await?;
    broker.reconfigure(|config| {
        config.limits.subscribers = 2;
        let channel = &mut config.channels[0];
        channel.delivery.heartbeat_seconds = 1;
        channel.delivery.retry_milliseconds = 60_000;
        channel.access.allowed_origins = vec!["https://app.example.com".into()];
    })?;
    reloads(&broker, "applied", 1).await?;
    let mut new = EventStream::connect(&url, None).await?;
    new.next_of("eventcast.heartbeat", Duration::from_secs(3)).await?;
    let retry = new.retry().context("no retry")?;
    assert!((30_000..=90_000).contains(&retry), "{retry}");
    let mut third = EventStream::connect(&url, None).await?;
    let closing = third.next_of("eventcast.closing", WAIT_TIMEOUT).await?.json()?;
    assert_eq!(closing["reason"], "overloaded");

    let page = client(Version::Http1).get(broker.events_url(""));
    let page =
        page.header("Accept", "application/json").header("Origin", "https://app.example.com");
    let page = Answer::read(page.send().await?).await?;
    assert_eq!(page.header("access-control-allow-origin"), Some("https://app.example.com"));
    publish(&url.replace("?heartbeat=event", ""), "for both", &[]).await?;
    for stream in [&mut old, &mut new] {
        assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "for both");
    }
    assert_eq!(broker.pid()?, pid);
    Ok(())
}

#[tokio::test]
async fn channels_come_and_go_while_it_runs() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start(&nats.url(), |_| {}).await?;
    let (demo, extra) = (broker.events_url(""), broker.url("/channels/default/extra/events"));
    let mut stays = EventStream::connect(&demo, None).await?;
    assert_eq!(publish(&extra, "too early", &[]).await?.status, 404);
    let extra_channel = open_channel("default", "extra");
    broker.reconfigure(|config| config.channels.push(extra_channel.clone()))?;
    reloads(&broker, "applied", 1).await?;
    let mut goes = EventStream::connect(&extra, None).await?;
    assert_eq!(publish(&extra, "one", &[]).await?.status, 201);
    assert_eq!(goes.next_data(WAIT_TIMEOUT).await?.data, "one");

    broker.reconfigure(|config| config.channels.truncate(1))?;
    let closing = goes.next_of("eventcast.closing", WAIT_TIMEOUT).await?.json()?;
    assert_eq!(closing["reason"], "channel-removed");
    assert!(goes.next().await?.is_none());
    let refused = client(Version::Http1).get(&extra).send().await?;
    assert_eq!(refused.status(), 404);
    assert_eq!(publish(&extra, "too late", &[]).await?.status, 404);

    broker.reconfigure(|config| config.channels.push(extra_channel))?;
    reloads(&broker, "applied", 3).await?;
    let mut back = goes.reconnect().await?;
    publish(&extra, "two", &[]).await?;
    let event = back.next_data(WAIT_TIMEOUT).await?;
    assert_eq!((event.event_type.as_str(), event.data.as_str()), ("message", "two"));
    publish(&demo, "undisturbed", &[]).await?;
    assert_eq!(stays.next_data(WAIT_TIMEOUT).await?.data, "undisturbed");
    Ok(())
}

/// An empty file is what a reader sees while an editor writes; taken over, it would end every channel for good.
#[tokio::test]
async fn a_bad_file_is_refused_and_the_last_good_one_stays() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start(&nats.url(), |_| {}).await?;
    let url = broker.events_url("");
    let mut stream = EventStream::connect(&url, None).await?;
    let bad =
        ["channels: [", "{\"query\": {\"concurrent\": 0}}", "limits: {subscribers: lots}", ""];
    for (count, text) in (1..).zip(bad) {
        fs::write(broker.config_file(), text)?;
        reloads(&broker, "rejected", count).await.with_context(|| format!("{text:?}"))?;
        assert_eq!(publish(&url, text, &[]).await?.status, 201, "{text:?}");
        assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, text);
    }
    assert!(broker.log().contains("query.concurrent: "), "{}", broker.log());
    broker.reconfigure(|config| config.limits.subscribers = 7)?;
    reloads(&broker, "applied", 1).await?;

    fs::remove_file(broker.config_file())?;
    eventually("the missing file is logged", WAIT_TIMEOUT, || async {
        broker.log().contains("cannot read the configuration file").then_some(())
    })
    .await?;
    assert_eq!(publish(&url, "without a file", &[]).await?.status, 201);
    Ok(())
}

#[tokio::test]
async fn a_change_that_needs_a_restart_is_said() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let mut broker = Broker::start(&nats.url(), |_| {}).await?;
    broker.reconfigure(|config| config.memory.tail_events = 100)?;
    reloads(&broker, "applied", 1).await?;
    let log = broker.log();
    let said = |line: &str| line.contains("needs a restart") && line.contains("memory");
    assert!(log.lines().any(said), "{log}");
    // once: a second change of something else is no news about this one
    broker.reconfigure(|config| config.limits.subscribers = 7)?;
    reloads(&broker, "applied", 2).await?;
    assert_eq!(publish(&broker.events_url(""), "still here", &[]).await?.status, 201);
    Ok(())
}

#[tokio::test]
async fn many_channels_live_in_one_process() -> Result<()> {
    const CHANNELS: usize = 40;
    init_tracing();
    let nats = NatsServer::start_with("1s").await?;
    let broker = Broker::start(&nats.url(), |config| {
        let channel = |i| {
            let mut channel = open_channel("many", &format!("c{i}"));
            channel.retention.max_bytes = 1 << 20;
            channel
        };
        config.channels = (0..CHANNELS).map(channel).collect();
    })
    .await?;
    let urls: Vec<String> =
        (0..CHANNELS).map(|i| broker.url(&format!("/channels/many/c{i}/events"))).collect();
    let mut streams = Vec::new();
    for url in &urls {
        streams.push(EventStream::connect(url, None).await?);
    }
    for url in &urls {
        assert_eq!(publish(url, url, &[]).await?.status, 201);
    }
    for (stream, url) in streams.iter_mut().zip(&urls) {
        assert_eq!(&stream.next_data(WAIT_TIMEOUT).await?.data, url);
    }
    assert_eq!(broker.metric("eventcast_subscribers", &[]).await?, CHANNELS as f64);
    Ok(())
}
