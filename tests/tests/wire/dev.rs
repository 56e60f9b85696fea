//! `eventcast-broker dev` as its user sees it: the printed addresses, restarts, kills, signals, and its options.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Cli,
    eventually,
    http::{Version, client, publish, publish_retrying},
    init_tracing,
    issuer::{request, subscribe},
    nats::NatsServer,
    ports,
    process::{self, Process},
    sse::EventStream,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use tokio::time::Instant;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// One user's `dev`: its addresses, its data, and the run at hand.
struct Dev {
    folder: TempDir,
    listen: String,
    admin: String,
    runs: u32,
    process: Option<Process>,
}

impl Dev {
    fn new() -> Result<Self> {
        let ports = ports::reserve(2)?;
        Ok(Self {
            folder: process::folder("eventcast-dev-")?,
            listen: format!("127.0.0.1:{}", ports[0]),
            admin: format!("127.0.0.1:{}", ports[1]),
            runs: 0,
            process: None,
        })
    }

    async fn started() -> Result<Self> {
        let mut dev = Self::new()?;
        dev.start(dev.command()).await?;
        Ok(dev)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Without a data directory.
    fn bare(&self) -> Cli {
        Cli::new(&["dev", "--listen", &self.listen, "--admin", &self.admin]).with_nats()
    }

    fn command(&self) -> Cli {
        self.bare().arg("--data-dir").arg(self.data())
    }

    /// Runs `command` and waits until it has said everything.
    async fn start(&mut self, command: Cli) -> Result<()> {
        self.runs += 1;
        let process = command.spawn(&format!("dev{}", self.runs), self.folder.path())?;
        let process = self.process.insert(process);
        eventually("dev says where everything is", WAIT_TIMEOUT, || {
            std::future::ready(process.stdout().contains("Press Ctrl-C to stop").then_some(()))
        })
        .await
        .with_context(|| process.stderr())
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("dev does not run")
    }

    /// What stands after `label` on its line.
    fn printed(&self, label: &str) -> Result<String> {
        let text = self.process.as_ref().map(Process::stdout).unwrap_or_default();
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        Ok(line.with_context(|| format!("no {label} in {text}"))?.trim().to_owned())
    }

    /// The address of the printed command for subscribers.
    fn events(&self) -> Result<String> {
        let command = self.printed("subscribe")?;
        let url = command.strip_prefix("curl -N '").and_then(|rest| rest.strip_suffix('\''));
        Ok(url.with_context(|| command.clone())?.to_owned())
    }

    fn nats(&self) -> Result<Pid> {
        let text = fs::read_to_string(self.data().join("nats.pid"))?;
        Pid::from_raw(text.trim().parse()?).context("no pid")
    }

    /// Ctrl-C, and waits for the end.
    async fn stop(&mut self) -> Result<()> {
        let process = self.running()?;
        process.signal(Signal::INT)?;
        let status = process.wait_exit(WAIT_TIMEOUT).await?;
        ensure!(status.success(), "ended with {status}");
        Ok(())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.process = None;
        // what the run did not end; only if the number still stands for our server
        if let Ok(pid) = self.nats()
            && serves(pid, self.folder.path())
            && let Err(error) = kill_process(pid, Signal::KILL)
        {
            eprintln!("nats-server not ended: {error}");
        }
    }
}

/// Whether `pid` is a nats-server with its configuration in `folder`.
fn serves(pid: Pid, folder: &Path) -> bool {
    let file = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    let command = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&command).contains(&*folder.to_string_lossy())
}

async fn gone(pid: Pid) -> Result<()> {
    let gone = || std::future::ready(test_kill_process(pid).is_err().then_some(()));
    eventually("the nats-server is gone", Duration::from_secs(2), gone).await
}

#[tokio::test]
async fn the_printed_addresses_work() -> Result<()> {
    init_tracing();
    let dev = Dev::started().await?;
    let http = client(Version::Http1);
    let page = http.get(dev.printed("page")?).send().await?;
    assert_eq!(page.status(), 200);
    assert!(page.headers()["content-type"].to_str()?.starts_with("text/html"));
    assert_eq!(http.get(dev.printed("metrics")?).send().await?.status(), 200);

    let url = dev.events()?;
    assert_eq!(dev.printed("publish")?, format!("curl -d 'hello' '{url}'"));
    assert!(dev.printed("Everyone")?.starts_with("on this machine may read and publish."));
    assert!(dev.printed("NATS")?.contains(&*dev.data().to_string_lossy()));
    let mut stream = EventStream::connect(&url, None).await?;
    let answer = publish(&url, "hello", &[]).await?;
    assert_eq!(answer.status, 201);
    let event = stream.next_data(WAIT_TIMEOUT).await?;
    assert_eq!((event.data.as_str(), event.id.as_deref()), ("hello", answer.cursor()));
    Ok(())
}

#[tokio::test]
async fn events_survive_ctrl_c_and_it_ends_the_nats_server() -> Result<()> {
    init_tracing();
    let mut dev = Dev::started().await?;
    let url = dev.events()?;
    let mut stream = EventStream::connect(&url, None).await?;
    for text in ["one", "two"] {
        publish(&url, text, &[]).await?;
    }
    assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "one");
    let cursor = stream.cut().context("no cursor")?;
    let nats = dev.nats()?;
    dev.stop().await?;
    gone(nats).await?;

    dev.start(dev.command()).await?;
    publish(&url, "three", &[]).await?;
    let mut stream = EventStream::connect(&url, Some(&cursor)).await?;
    for text in ["two", "three"] {
        let event = stream.next_data(WAIT_TIMEOUT).await?;
        assert_eq!((event.event_type.as_str(), event.data.as_str()), ("message", text));
    }
    Ok(())
}

#[tokio::test]
async fn events_survive_a_kill_and_the_orphan_is_ended() -> Result<()> {
    init_tracing();
    let mut dev = Dev::started().await?;
    let url = dev.events()?;
    let cursor = publish(&url, "one", &[]).await?.cursor().context("no cursor")?.to_owned();
    publish(&url, "two", &[]).await?;
    let orphan = dev.nats()?;
    dev.running()?.kill9()?;
    assert!(serves(orphan, dev.folder.path()), "this suite believed it would outlive its broker");

    dev.start(dev.command()).await?;
    gone(orphan).await?;
    let mut stream = EventStream::connect(&url, Some(&cursor)).await?;
    let event = stream.next_data(WAIT_TIMEOUT).await?;
    assert_eq!((event.event_type.as_str(), event.data.as_str()), ("message", "two"));
    Ok(())
}

#[tokio::test]
async fn a_killed_nats_server_is_restarted_and_nothing_is_lost() -> Result<()> {
    init_tracing();
    let dev = Dev::started().await?;
    let url = dev.events()?;
    let mut stream = EventStream::connect(&url, None).await?;
    publish(&url, "before", &[]).await?;
    let killed = dev.nats()?;
    kill_process(killed, Signal::KILL)?;
    publish_retrying(&[url], "after", &[], "after-the-kill", WAIT_TIMEOUT).await?;
    assert_ne!(dev.nats()?, killed);
    for text in ["before", "after"] {
        loop {
            let event = stream.next_within(WAIT_TIMEOUT).await?;
            if event.event_type != "eventcast.cursor" {
                assert_eq!((event.event_type.as_str(), event.data.as_str()), ("message", text));
                break;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_second_ctrl_c_ends_both_at_once() -> Result<()> {
    init_tracing();
    let mut dev = Dev::started().await?;
    let mut stream = EventStream::connect(&dev.events()?, None).await?; // gives the drain something to wait for
    stream.next_of("eventcast.cursor", WAIT_TIMEOUT).await?;
    let nats = dev.nats()?;
    let process = dev.running()?;
    process.signal(Signal::INT)?;
    eventually("the first one is taken", WAIT_TIMEOUT, || {
        std::future::ready(process.stderr().contains("shutting down").then_some(()))
    })
    .await?;
    process.signal(Signal::INT)?;
    let began = Instant::now();
    let status = process.wait_exit(WAIT_TIMEOUT).await?;
    assert_eq!(status.code(), Some(130));
    assert!(began.elapsed() < Duration::from_millis(500), "it took {:?}", began.elapsed());
    gone(nats).await.context("the nats-server is left behind in the background")
}

#[tokio::test]
async fn channels_data_and_nats_are_the_users_choice() -> Result<()> {
    init_tracing();
    // no --data-dir: the state directory of the user
    let mut dev = Dev::new()?;
    let state = dev.folder.path().join("state");
    fs::create_dir(&state)?;
    let command = dev.bare().env("XDG_STATE_HOME", &state).arg("--channel").arg("a/b,c/d");
    dev.start(command).await?;
    let base = format!("http://{}", dev.listen);
    for channel in ["a/b", "c/d"] {
        let url = format!("{base}/channels/{channel}/events");
        assert_eq!(publish(&url, channel, &[]).await?.status, 201);
    }
    assert_eq!(
        publish(&dev.events()?.replace("/a/b/", "/default/demo/"), "x", &[]).await?.status,
        404
    );
    assert!(state.join("eventcast/nats").is_dir(), "events are kept in the state directory");
    let pid: i32 = fs::read_to_string(state.join("eventcast/nats.pid"))?.trim().parse()?;
    dev.stop().await?;
    gone(Pid::from_raw(pid).context("no pid")?).await?;

    let server = NatsServer::start().await?;
    let mut dev = Dev::new()?;
    dev.start(dev.command().arg("--nats-url").arg(server.url())).await?;
    assert_eq!(publish(&dev.events()?, "over there", &[]).await?.status, 201);
    assert!(!dev.data().exists(), "nothing is kept here");
    let streams = server.jetstream().await?.query_account().await?.streams;
    assert_eq!(streams, 1);
    dev.stop().await?;
    server.jetstream().await?.query_account().await.context("it is not ours to end")?;
    Ok(())
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused() -> Result<()> {
    init_tracing();
    let mut first = Dev::started().await?;
    let second = Dev::new()?;
    let command = second.bare().arg("--data-dir").arg(first.data());
    let pid = first.running()?.pid().to_string();
    let data = first.data().to_string_lossy().into_owned();
    let ended = command.output(WAIT_TIMEOUT).await?;
    assert_eq!((ended.status.success(), ended.stderr.lines().count()), (false, 1), "{ended:?}");
    for word in [&*data, "in use", &*pid, "--data-dir"] {
        assert!(ended.stderr.contains(word), "{word:?} is not in {:?}", ended.stderr);
    }
    assert_eq!(publish(&first.events()?, "the first one goes on", &[]).await?.status, 201);
    Ok(())
}

/// Two users, or two windows of one, at the same moment: neither may end up with the log of the other.
#[tokio::test]
async fn runs_that_start_together_keep_their_events_apart() -> Result<()> {
    init_tracing();
    let (mut one, mut two) = (Dev::new()?, Dev::new()?);
    let (left, right) = (one.command(), two.command());
    let (left, right) = tokio::join!(one.start(left), two.start(right));
    left.and(right)?;
    publish(&one.events()?, "of one", &[]).await?;
    let history = client(Version::Http1).get(two.events()?).header("Accept", "application/json");
    let page: serde_json::Value = history.send().await?.json().await?;
    assert_eq!(page["events"], serde_json::json!([]), "they share a log");
    Ok(())
}

/// A closed `dev` accepts the tokens that it prints and those of the printed command, also after a restart.
#[tokio::test]
async fn closed_channels_require_the_printed_tokens() -> Result<()> {
    init_tracing();
    let mut dev = Dev::new()?;
    dev.start(dev.command().env("EVENTCAST_ACCESS", "closed")).await?;
    let (user, admin) = (dev.printed("user 42")?, dev.printed("admin")?);
    let channel = format!("http://{}/channels/default/demo", dev.listen);
    let url = format!("{channel}/events");
    let header = format!("-H 'Authorization: Bearer {user}'");
    assert_eq!(dev.printed("subscribe")?, format!("curl -N {header} '{url}'"));
    let command = format!("curl -d 'hello' {header} '{url}?topic=user.42'");
    assert_eq!(dev.printed("publish")?, command);
    assert_eq!(client(Version::Http1).get(&url).send().await?.status(), 401);
    assert_eq!(publish(&url, "anonymous", &[]).await?.status, 401);

    let mut stream = subscribe(&url, &user, Version::Http1).await?;
    let send = async |token: &str, topic: &str| {
        let body = Some(serde_json::json!({"to": topic}));
        Ok::<_, anyhow::Error>(request("POST", &format!("{url}{topic}"), token, body).await?.status)
    };
    assert_eq!(send(&user, "?topic=user.43").await?, 403);
    for topic in ["?topic=user.43", "?topic=a.b", "?topic=public.a", ""] {
        assert_eq!(send(&admin, topic).await?, 201, "{topic:?}");
    }
    assert_eq!(send(&user, "?topic=user.42").await?, 201);
    for topic in ["?topic=public.a", "", "?topic=user.42"] {
        let event = stream.next_data(WAIT_TIMEOUT).await?;
        assert_eq!(event.data, format!(r#"{{"to":"{topic}"}}"#));
    }
    assert_eq!(request("GET", &format!("{channel}/subscribers"), &user, None).await?.status, 403);
    let listed = request("GET", &format!("{channel}/subscribers"), &admin, None).await?;
    assert_eq!((listed.status, &listed.json["total"]), (200, &serde_json::json!(1)));
    assert_eq!(request("POST", &format!("{channel}/tickets"), &user, None).await?.status, 201);
    let foreign = client(Version::Http1).get(&url).bearer_auth(&user).header("Host", "a.example");
    assert!(foreign.send().await?.status().is_client_error(), "a host that is not this machine");

    let program = ["-c".to_owned(), dev.printed("another")?];
    let mut another = Process::spawn("another", Path::new("sh"), &program, dev.folder.path())?;
    assert!(another.wait_exit(WAIT_TIMEOUT).await?.success(), "{}", another.stderr());
    let token = another.stdout();
    let grant = request("GET", &format!("{channel}/access"), token.trim(), None).await?;
    let topics = serde_json::json!(["user.43", "public.>"]);
    assert_eq!((grant.status, &grant.json["subscribe"]["topics"]), (200, &topics));
    let keys = fs::metadata(dev.data().join("token-keys.json"))?;
    assert_eq!(keys.permissions().mode() & 0o777, 0o600, "others could sign tokens");

    dev.stop().await?;
    dev.start(dev.command().arg("--access").arg("closed")).await?;
    assert_eq!(send(&user, "?topic=user.42").await?, 201, "the key is kept");
    Ok(())
}

#[tokio::test]
async fn pages_of_an_allowed_origin_may_use_the_channels() -> Result<()> {
    init_tracing();
    let mut dev = Dev::new()?;
    let command = dev.command().arg("--allowed-origin").arg("http://localhost:3000");
    dev.start(command.arg("--access").arg("closed")).await?;
    let url = format!("http://{}/channels/default/demo/access", dev.listen);
    for (origin, allowed) in [("http://localhost:3000", true), ("http://localhost:3001", false)] {
        let answer = client(Version::Http1).get(&url).header("Origin", origin).send().await?;
        let names = answer.headers().get("access-control-allow-origin");
        ensure!(names.is_some_and(|name| name == origin) == allowed, "{origin}: {names:?}");
    }
    dev.stop().await
}
