//! The command line as people use it: by names, through the API server, with its own forwarding.

use std::{fs, io::Read as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::{Cli, Ended},
    e2e::{Channel, scenario},
    eventually, process,
};
use serde_json::Value;

const WAIT: Duration = Duration::from_secs(60);

async fn run(arguments: &[&str]) -> Result<Ended> {
    let cli = Cli::eventcast(arguments).without("EVENTCAST_URL").without("EVENTCAST_TOKEN");
    cli.output(WAIT).await
}

async fn succeed(arguments: &[&str]) -> Result<String> {
    let ended = run(arguments).await?;
    ensure!(ended.status.success(), "{arguments:?}: {} {}", ended.status, ended.stderr);
    Ok(ended.stdout)
}

async fn connections(name: &str) -> Result<Vec<Value>> {
    let listed = succeed(&["connections", name, "-o", "json"]).await?;
    Ok(serde_json::from_str(&listed)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn the_command_line_reaches_brokers_through_the_api_server() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "cli").await?;
        let name = format!("{}/demo", channel.namespace);
        let pods = channel.pods().await?;
        let status = succeed(&["status", &name]).await?;
        for wanted in [&pods[0][..], "Ready", "demo-broker"] {
            ensure!(status.contains(wanted), "no {wanted}: {status}");
        }
        succeed(&["pub", &name, "-d", "e2e-secret-data", "--topic", "user.7"]).await?;
        let folder = process::folder("eventcast-e2e-cli-")?;
        let read = ["sub", &name, "--topic", "user.7", "--from", "earliest", "--count", "2"];
        let cli = Cli::eventcast(&read).without("EVENTCAST_URL").without("EVENTCAST_TOKEN");
        let mut reader = cli.spawn("sub", folder.path())?;
        let listed = eventually("the stream is listed with its broker", WAIT, || async {
            let listed = connections(&name).await?;
            ensure!(listed.len() == 1 && listed[0]["events"] == 1, "{listed:?}");
            anyhow::Ok(listed)
        })
        .await?;
        let broker = listed[0]["broker"].as_str().context("no broker")?.to_owned();
        ensure!(pods.contains(&broker), "{broker} of {pods:?}");

        let id = listed[0]["id"].as_str().context("no id")?;
        succeed(&["kick", &name, id]).await?;
        eventually("the client has come back with a new stream", WAIT, || async {
            let listed = connections(&name).await?;
            ensure!(listed.len() == 1 && listed[0]["id"] != id, "{listed:?}");
            anyhow::Ok(())
        })
        .await?;
        ensure!(reader.stderr().contains("(disconnected)"), "{}", reader.stderr());

        let levels = succeed(&["log-level", &name, "debug", "--for", "10m", "-o", "json"]).await?;
        let levels: Vec<Value> = serde_json::from_str(&levels)?;
        ensure!(levels.len() == pods.len(), "{levels:?}");
        ensure!(levels.iter().all(|level| level["filter"] == "debug"), "{levels:?}");
        let operators = succeed(&["log-level", "operator"]).await?;
        ensure!(operators.contains("operator"), "{operators}");
        succeed(&["log-level", &name, "--reset"]).await?;

        let file = folder.path().join("report.zip").display().to_string();
        let told = run(&["report", &name, "--file", &file]).await?;
        ensure!(told.status.success(), "{told:?}");
        let (mut names, mut texts) = (Vec::new(), String::new());
        let mut archive = zip::ZipArchive::new(fs::File::open(&file)?)?;
        for at in 0..archive.len() {
            let mut entry = archive.by_index(at)?;
            names.push(entry.name()?.into_owned());
            entry.read_to_string(&mut texts)?;
        }
        for wanted in
            ["channel.yaml", "objects/deployments.yaml", "log.txt", "metrics.txt", "state.yaml"]
        {
            ensure!(names.iter().any(|name| name.ends_with(wanted)), "no {wanted}: {names:?}");
        }
        ensure!(!texts.contains("e2e-secret-data"), "the data of an event is in the report");
        ensure!(!texts.contains("kind: Secret\n"), "a Secret is in the report");

        let drained = succeed(&["drain", &name, &broker]).await?;
        ensure!(drained.contains("is not ready any more"), "{drained}");
        eventually("the container of the drained broker was started again", WAIT, || async {
            let pod = channel.get(&format!("pod/{broker}")).await?;
            let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
            ensure!(restarts == 1, "{restarts}");
            anyhow::Ok(())
        })
        .await?;
        channel.wait("condition=Ready").await?;
        succeed(&["pub", &name, "-d", "after the drain", "--topic", "user.7"]).await?;
        let ended = reader.wait_exit(WAIT).await?;
        ensure!(ended.success(), "{}", reader.stderr());
        ensure!(reader.stdout().lines().count() == 2, "{}", reader.stdout());
        channel.leave().await
    })
    .await
}
