//! `eventcast` for development and support: load tests, tokens, reports, completions.

use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::{Access, TokenIssuer};
use eventcast_tests::{
    broker::{Cli, Ended},
    issuer::Issuer,
    process,
    wire::BrokerWithNats,
};
use serde_json::Value;

const WAIT: Duration = Duration::from_secs(60);

async fn run(broker: &BrokerWithNats, arguments: &[&str]) -> Result<Ended> {
    let cli = Cli::eventcast(arguments).without("EVENTCAST_TOKEN");
    cli.env("EVENTCAST_URL", broker.url("")).output(WAIT).await
}

#[tokio::test]
async fn a_load_test_counts_every_delivery() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let bench = ["bench", "demo", "--subscribers", "20", "--rate", "50", "--seconds", "2"];
    let measured = run(&broker, &[&bench[..], &["-o", "jsonl"]].concat()).await?;
    ensure!(measured.status.success(), "{measured:?}");
    let measured: Value = serde_json::from_str(&measured.stdout)?;
    ensure!(measured["published"] == 100 && measured["delivered"] == 2000, "{measured}");
    for none in ["failed", "lost", "duplicates", "gaps"] {
        ensure!(measured[none] == 0, "{none}: {measured}");
    }
    let ms = |which: &str| measured["delivery"][which].as_f64().unwrap_or_default();
    ensure!(ms("p50") > 0.0 && ms("p50") <= ms("p99") && ms("p99") <= ms("max"), "{measured}");
    let stored = broker.metric("eventcast_events_in_total", &[]).await?;
    ensure!(stored >= 100.0, "{stored} events in the log");

    let latency = run(&broker, &["latency", "demo", "--count", "5"]).await?;
    ensure!(latency.status.success(), "{latency:?}");
    ensure!(latency.stdout.contains("publish to arrival"), "{latency:?}");

    let asked = run(&broker, &["bench", "demo", "--subscribers", "101"]).await?;
    ensure!(asked.status.code() == Some(64) && asked.stderr.contains("--yes"), "{asked:?}");
    let missing = run(&broker, &["latency", "default/missing", "--count", "1"]).await?;
    ensure!(missing.status.code() == Some(1), "{missing:?}");
    Ok(())
}

#[tokio::test]
async fn a_load_test_tells_of_publishes_that_fail() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].publishing.max_event_bytes = 1024;
    })
    .await?;
    let bench = ["bench", "demo", "--subscribers", "1", "--rate", "20", "--seconds", "1"];
    let measured = run(&broker, &[&bench[..], &["--size", "4096"]].concat()).await?;
    ensure!(measured.status.code() == Some(1), "{measured:?}");
    ensure!(measured.stderr.contains("publishes failed, the first one"), "{measured:?}");
    ensure!(measured.stderr.contains("0 lost"), "what is not stored is not lost: {measured:?}");
    Ok(())
}

#[tokio::test]
async fn a_signed_token_is_accepted() -> Result<()> {
    let folder = process::folder("eventcast-cli-")?;
    let keys = folder.path().join("keys.json");
    let path = keys.display().to_string();
    let sign = ["token", "sign", "--keys", &path, "--subject", "ann", "--claim", "role=admin"];
    let signed = Cli::eventcast(&sign).output(WAIT).await?;
    ensure!(signed.status.success() && signed.stdout.matches('.').count() == 2, "{signed:?}");
    ensure!(fs::metadata(&keys)?.permissions().mode() & 0o777 == 0o600, "others can read the key");
    let same = Cli::new(&["token", "--keys", &path, "--subject", "bob"]).output(WAIT).await?;
    ensure!(same.status.success(), "the broker signs with the same file: {same:?}");

    let broker = BrokerWithNats::start(|config| {
        let issuer = TokenIssuer {
            issuer: "development".into(),
            audience: "development".into(),
            key_file: Some(keys.clone()),
            ..Issuer::new().map(|issuer| issuer.trusted()).unwrap_or_default()
        };
        config.channels[0].access = Access { tokens: vec![issuer], ..Access::default() };
    })
    .await?;
    let token = folder.path().join("token");
    fs::write(&token, &signed.stdout)?;
    let file = token.display().to_string();
    let judged = run(&broker, &["token", "check", "demo", "--token-file", &file]).await?;
    ensure!(judged.status.success(), "{judged:?}");
    ensure!(judged.stdout.contains("ann"), "{judged:?}");
    Ok(())
}

#[tokio::test]
async fn a_report_has_no_credentials_and_no_events() -> Result<()> {
    let issuer = Issuer::new()?;
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].access = Access { tokens: vec![issuer.trusted()], ..Access::default() };
    })
    .await?;
    let folder = process::folder("eventcast-cli-")?;
    let token = folder.path().join("token");
    fs::write(&token, issuer.admin())?;
    let token_file = token.display().to_string();
    let publish = ["pub", "demo", "-d", "data-of-an-event", "--token-file", &token_file];
    let published = run(&broker, &publish).await?;
    ensure!(published.status.success(), "{published:?}");

    let file = folder.path().join("report.zip");
    let path = file.display().to_string();
    let admin = broker.admin_url("");
    let report = ["report", "--admin-url", &admin, "--file", &path];
    let told = run(&broker, &report).await?;
    ensure!(told.status.success() && told.stdout.trim() == path, "{told:?}");
    ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600, "others can read it");
    let mut archive = zip::ZipArchive::new(fs::File::open(&file)?)?;
    let (mut names, mut texts) = (Vec::new(), String::new());
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at)?;
        names.push(entry.name()?.split_once('/').context("no folder")?.1.to_owned());
        entry.read_to_string(&mut texts)?;
    }
    for wanted in ["README.txt", "broker/metrics.txt", "broker/state.yaml", "broker/ready.yaml"] {
        ensure!(names.iter().any(|name| name == wanted), "no {wanted}: {names:?}");
        ensure!(told.stderr.contains(wanted), "it does not tell of {wanted}: {told:?}");
    }
    ensure!(texts.contains("eventcast_subscribers") && texts.contains("default/demo"), "{names:?}");
    for secret in ["data-of-an-event", issuer.admin().as_str()] {
        ensure!(!texts.contains(secret), "{secret} is in the report");
    }
    let again = run(&broker, &report).await?;
    ensure!(again.status.code() == Some(1), "it overwrites: {again:?}");
    Ok(())
}

#[tokio::test]
async fn kubectl_gets_candidates() -> Result<()> {
    let script = Cli::eventcast(&["completion", "kubectl"]).output(WAIT).await?;
    ensure!(script.stdout.starts_with("#!/bin/sh\n"), "{script:?}");
    let folder = process::folder("eventcast-cli-")?;
    let file = folder.path().join("kubectl_complete-eventcast");
    fs::write(&file, &script.stdout)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    std::os::unix::fs::symlink(
        process::built("eventcast"),
        folder.path().join("kubectl-eventcast"),
    )?;
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
    let output = tokio::process::Command::new(&file)
        .args(["connections", "--sl"])
        .env("PATH", path)
        .output()
        .await?;
    let shown = String::from_utf8(output.stdout)?;
    ensure!(shown.starts_with("--slow\t") && shown.ends_with("\n:4\n"), "{shown}");
    Ok(())
}
