//! Backup and restore: the commands of docs/BACKUP.md, as they stand, with the real `kubectl` and `nats`.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    broker::{Broker, open_channel},
    http::{created, publish_retrying},
    init_tracing,
    kube::program,
    namespace::TestNamespace,
    nats::NatsServer,
    operator::{Operator, Options},
    process::{self, Process},
    repository,
    sse::EventStream,
};
use serde_json::json;
use tempfile::TempDir;

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const CHANNEL: &str = "orders";

/// The commands below a heading of the document.
fn commands(heading: &str) -> Result<String> {
    let text = fs::read_to_string(repository().join("docs/BACKUP.md"))?;
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).context("no such heading")?;
    let block = section.split("```\n").nth(1).context("no commands")?;
    Ok(block.to_owned())
}

/// A folder with backups, and a shell that knows the namespace and NATS.
struct Shell {
    folder: TempDir,
    variables: String,
}

impl Shell {
    fn new(ns: &TestNamespace) -> Result<Self> {
        let mut variables = format!(
            "ns={} ch={CHANNEL}\nexport KUBECONFIG='{}' NATS_URL={}\n",
            ns.name,
            ns.cluster.admin_kubeconfig().display(),
            ns.nats.url()
        );
        for name in ["kubectl", "nats"] {
            variables += &format!("{name}() {{ '{}' \"$@\"; }}\n", program(name).display());
        }
        Ok(Self { folder: process::folder("eventcast-backup-")?, variables })
    }

    /// Runs commands, each of which must succeed.
    async fn run(&self, commands: &str) -> Result<()> {
        let folder = self.folder.path();
        let script =
            format!("cd '{0}'\nexport HOME='{0}'\n{1}{commands}", folder.display(), self.variables);
        let sh = process::find_on_path("sh").context("no sh")?;
        let mut process = Process::spawn("sh", &sh, &["-ec", &script], folder)?;
        let status = process.wait_exit(WAIT_TIMEOUT).await?;
        ensure!(status.success(), "{commands}{}{}", process.stdout(), process.stderr());
        Ok(())
    }
}

/// A broker of the channel, which the operator would have started.
async fn broker(ns: &TestNamespace, nats: &NatsServer) -> Result<Broker> {
    Broker::start(&nats.url(), |config| {
        config.nats.create_streams = false;
        config.channels = vec![open_channel(&ns.name, CHANNEL)];
    })
    .await
}

/// Its events, with a query.
fn events(ns: &TestNamespace, broker: &Broker, query: &str) -> String {
    broker.url(&format!("/channels/{}/{CHANNEL}/events{query}", ns.name))
}

/// The next `count` events of a publisher, with nothing between them.
async fn numbers(stream: &mut EventStream, count: usize) -> Result<Vec<u32>> {
    let mut out = Vec::new();
    while out.len() < count {
        let event = stream.next_within(WAIT_TIMEOUT).await?;
        if event.event_type != "eventcast.cursor" {
            out.push(event.data.parse().with_context(|| format!("{event:?}"))?);
        }
    }
    Ok(out)
}

#[tokio::test]
async fn a_restored_channel_goes_on_where_its_backup_ends() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply(CHANNEL, json!({})).await?;
    ns.settled(CHANNEL).await?;
    let shell = Shell::new(&ns)?;
    let epoch = ns.stream(CHANNEL).await?.metadata["sse.epoch"].clone();
    let broker = broker(&ns, &ns.nats).await?;
    let url = events(&ns, &broker, "");
    let earliest = events(&ns, &broker, "?from=earliest");
    for n in 0..5 {
        created(&url, &n.to_string(), &[]).await?;
    }
    let mut resumes = EventStream::connect(&earliest, None).await?;
    ensure!(numbers(&mut resumes, 5).await? == [0, 1, 2, 3, 4]);
    let cursor = resumes.cut();
    shell.run(&commands("Back up a channel")?).await?;
    for n in 5..8 {
        created(&url, &n.to_string(), &[]).await?;
    }
    let mut ahead = EventStream::connect(&earliest, None).await?;
    numbers(&mut ahead, 8).await?;

    shell.run(&commands("Restore a channel")?).await?;
    ns.settled(CHANNEL).await?;
    ensure!(ns.stream(CHANNEL).await?.metadata["sse.epoch"] == epoch, "another epoch");
    publish_retrying(std::slice::from_ref(&url), "100", &[], "after", WAIT_TIMEOUT).await?;
    let gap = ahead.next_of("eventcast.gap", WAIT_TIMEOUT).await?.json()?;
    ensure!(gap["reason"] == "new-incarnation", "{gap}");
    ensure!(numbers(&mut ahead, 6).await? == [0, 1, 2, 3, 4, 100]);
    let mut resumes = EventStream::connect(&url, cursor.as_deref()).await?;
    ensure!(numbers(&mut resumes, 1).await? == [100], "it resumes without a gap");
    Ok(())
}

#[tokio::test]
async fn a_channel_moves_to_another_nats_with_its_cursors() -> Result<()> {
    init_tracing();
    let mut ns = TestNamespace::start().await?;
    ns.apply(CHANNEL, json!({})).await?;
    ns.settled(CHANNEL).await?;
    let shell = Shell::new(&ns)?;
    let old = broker(&ns, &ns.nats).await?;
    for n in 0..5 {
        created(&events(&ns, &old, ""), &n.to_string(), &[]).await?;
    }
    let mut stream = EventStream::connect(&events(&ns, &old, "?from=earliest"), None).await?;
    numbers(&mut stream, 3).await?;
    let cursor = stream.cut();
    drop(old);

    let target = NatsServer::start().await?;
    let copy = commands("Moving to another NATS")?;
    let copy = copy.replace("nats://nats.nats.svc:4222", &target.url());
    ensure!(copy.contains(&target.url()), "{copy}");
    shell.run(&copy).await?;
    ns.operator.kill9()?;
    ns.nats = target;
    let options = Options::of(ns.cluster.admin_kubeconfig(), &ns.nats, &ns.name);
    ns.operator = Operator::start(options).await?;
    // the generation tells that this operator has looked at the channel
    ns.apply(CHANNEL, json!({"retention": {"maxAgeSeconds": 1000}})).await?;
    ns.settled(CHANNEL).await?;
    ensure!(ns.stream(CHANNEL).await?.max_age == Duration::from_secs(1000), "it is not managed");
    let channel = ns.api::<EventChannel>().get(CHANNEL).await?;
    ensure!(channel.status.is_some());
    let new = broker(&ns, &ns.nats).await?;
    created(&events(&ns, &new, ""), "5", &[]).await?;
    let mut stream = EventStream::connect(&events(&ns, &new, ""), cursor.as_deref()).await?;
    ensure!(numbers(&mut stream, 3).await? == [3, 4, 5]);
    Ok(())
}
