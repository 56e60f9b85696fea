//! A broker notices when one of its tasks dies: it names the task and the reason, becomes unready, drains, and exits with code
//! 70.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Cli,
    eventually,
    fault::{FaultFile, break_listener},
    http::{Version, client},
    init_tracing,
    nats::NatsServer,
    ports,
    process::{self, Process},
    sse::EventStream,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const WAIT_TIMEOUT: Duration = Duration::from_secs(15);
const EXIT_FAILED: i32 = 70;

/// A broker, and a way to hurt it.
struct Patient {
    _nats: NatsServer,
    folder: TempDir,
    public: u16,
    admin: u16,
    process: Process,
    faults: FaultFile,
}

impl Patient {
    async fn start() -> Result<Self> {
        let nats = NatsServer::start().await?;
        let (folder, ports) = (process::folder("eventcast-life-")?, ports::reserve(2)?);
        let file = folder.path().join("config.yaml");
        fs::write(
            &file,
            "channels: [{namespace: default, name: demo, access: {anonymous: [Subscribe, Publish]}}]\n\
             shutdown: {delaySeconds: 1, drainSeconds: 1, graceSeconds: 5}\n",
        )?;
        let faults = FaultFile::new(folder.path());
        let listen = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
        let servers = format!("nats={{servers: ['{}'], createStreams: true}}", nats.url());
        let command =
            Cli::new(&["run", "--listen", &listen[0], "--admin", &listen[1], "--set", &servers])
                .env("EVENTCAST_CONFIG", &file)
                .env(FaultFile::VARIABLE, faults.path());
        let process = command.spawn("broker", folder.path())?;
        let patient =
            Self { _nats: nats, folder, public: ports[0], admin: ports[1], process, faults };
        eventually("it is ready", WAIT_TIMEOUT, || async {
            ensure!(patient.readyz().await?.0 == 200, "not ready");
            anyhow::Ok(())
        })
        .await
        .with_context(|| patient.process.stderr())?;
        Ok(patient)
    }

    async fn readyz(&self) -> Result<(u16, String)> {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin);
        let answer = client(Version::Http1).get(url).timeout(Duration::from_secs(2)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    async fn subscriber(&self) -> Result<EventStream> {
        let url = format!("http://127.0.0.1:{}/channels/default/demo/events", self.public);
        let mut stream = EventStream::connect(&url, None).await?;
        stream.next_of("eventcast.cursor", WAIT_TIMEOUT).await?;
        Ok(stream)
    }

    /// Checks its end: streams get a closing event, the process exits with 70, and its last log line names the task.
    async fn dies_of(&mut self, task: &str, stream: &mut EventStream) -> Result<()> {
        let closing = stream.next_of("eventcast.closing", WAIT_TIMEOUT).await?.json()?;
        assert_eq!(closing["reason"], "draining", "{task}");
        let status = self.process.wait_exit(WAIT_TIMEOUT).await?;
        assert_eq!(status.code(), Some(EXIT_FAILED), "{task}: {}", self.process.stderr());
        let log = self.process.stderr();
        let last = log.lines().last().context("no word")?;
        assert!(last.contains(&format!("{task} failed: ")), "{task}: {last}");
        Ok(())
    }
}

#[tokio::test]
async fn a_broker_whose_public_listener_breaks_is_not_ready_and_drains() -> Result<()> {
    init_tracing();
    let mut broker = Patient::start().await?;
    let mut stream = broker.subscriber().await?;
    break_listener(broker.process.pid(), broker.public)?;
    eventually("it is not ready", Duration::from_secs(2), || async {
        ensure!(broker.readyz().await?.0 == 503, "ready without a listener");
        anyhow::Ok(())
    })
    .await?;
    broker.dies_of("public listener", &mut stream).await
}

#[tokio::test]
async fn a_broker_whose_admin_listener_breaks_drains() -> Result<()> {
    init_tracing();
    let mut broker = Patient::start().await?;
    let mut stream = broker.subscriber().await?;
    break_listener(broker.process.pid(), broker.admin)?;
    broker.dies_of("admin listener", &mut stream).await
}

#[tokio::test]
async fn the_panic_of_any_critical_task_drains_the_broker() -> Result<()> {
    init_tracing();
    let tasks = [
        "public listener",
        "admin listener",
        "stall watcher",
        "configuration reload",
        "log reader of default/demo",
    ];
    for task in tasks {
        let mut broker = Patient::start().await?;
        let mut stream = broker.subscriber().await?;
        broker.faults.panic(task)?;
        broker.dies_of(task, &mut stream).await?;
        let log = broker.process.stderr();
        assert!(log.contains("it panicked: a fault was injected"), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_shutdown_that_panics_does_not_end_as_if_all_was_well() -> Result<()> {
    init_tracing();
    let mut broker = Patient::start().await?;
    broker.faults.panic("shutdown")?;
    broker.process.signal(Signal::TERM)?;
    let status = broker.process.wait_exit(WAIT_TIMEOUT).await?;
    assert_eq!(status.code(), Some(EXIT_FAILED), "{}", broker.process.stderr());
    assert!(broker.folder.path().exists());
    Ok(())
}

/// One death is mended; a server that cannot live ends `dev`, and says where to look.
#[tokio::test]
async fn dev_ends_when_its_nats_server_ends_again_and_again() -> Result<()> {
    init_tracing();
    let (folder, ports) = (process::folder("eventcast-dev-")?, ports::reserve(2)?);
    let [listen, admin] = [ports[0], ports[1]].map(|port| format!("127.0.0.1:{port}"));
    let data = folder.path().join("data");
    let command = Cli::new(&["dev", "--listen", &listen, "--admin", &admin]).with_nats();
    let mut dev = command.arg("--data-dir").arg(&data).spawn("dev", folder.path())?;
    eventually("dev says where everything is", WAIT_TIMEOUT, || {
        std::future::ready(dev.stdout().contains("Press Ctrl-C to stop").then_some(()))
    })
    .await?;
    let pid: i32 = fs::read_to_string(data.join("nats.pid"))?.trim().parse()?;
    fs::write(data.join("nats.conf"), "no configuration of a nats-server {")?;
    kill_process(Pid::from_raw(pid).context("no pid")?, Signal::KILL)?;
    let status = dev.wait_exit(Duration::from_secs(40)).await?;
    assert_eq!(status.code(), Some(EXIT_FAILED), "{}", dev.stderr());
    let log = dev.stderr();
    let last = log.lines().last().context("no word")?;
    assert!(last.contains("nats-server failed: ") && last.contains("nats.log"), "{last}");
    Ok(())
}
