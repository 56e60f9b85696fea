//! An operator notices when one of its tasks dies: it names the task and the reason, finishes what is under way, and exits with
//! code 70.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use eventcast_tests::{
    eventually,
    fault::{FaultFile, break_listener},
    init_tracing, logs,
    namespace::TestNamespace,
    process::{self, Process},
};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::json;

const WAIT_TIMEOUT: Duration = Duration::from_secs(40);
const EXIT_FAILED: Option<i32> = Some(70);

/// Its last log line names the task.
fn last_word(log: &str, task: &str) -> Result<()> {
    let last = log.lines().last().context("no word")?;
    assert!(last.contains(task) && last.contains(" failed: "), "{task}: {last}");
    Ok(())
}

/// The holder of the Lease; none: it was given up.
async fn holder(ns: &TestNamespace) -> Result<Option<String>> {
    let lease = ns.api::<Lease>().get("eventcast-operator").await?;
    Ok(lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty()))
}

#[tokio::test]
async fn the_death_of_any_critical_task_ends_the_operator() -> Result<()> {
    init_tracing();
    let mut ns = TestNamespace::start().await?;
    break_listener(ns.operator.process()?.pid(), ns.operator.admin_port())?;
    assert_eq!(ns.operator.wait_exit(WAIT_TIMEOUT).await?, EXIT_FAILED, "{}", ns.operator.log());
    last_word(&ns.operator.log(), "admin listener")?;
    assert_eq!(holder(&ns).await?, None, "the next one need not wait");

    let folder = process::folder("eventcast-faults-")?;
    let faults = FaultFile::new(folder.path());
    ns.operator.set_env(FaultFile::VARIABLE, &faults.path().to_string_lossy());
    for task in ["admin listener", "credentials reload", "controller", "leader election"] {
        faults.panic("nothing")?;
        ns.operator.relaunch()?;
        ns.operator.leads(WAIT_TIMEOUT).await?;
        faults.panic(task)?;
        assert_eq!(ns.operator.wait_exit(WAIT_TIMEOUT).await?, EXIT_FAILED, "{task}");
        last_word(&ns.operator.log(), task)?;
    }
    Ok(())
}

#[tokio::test]
async fn the_level_is_read_from_a_file_while_the_operator_runs_and_lines_are_flat() -> Result<()> {
    init_tracing();
    let mut ns = TestNamespace::start().await?;
    let folder = process::folder("eventcast-log-")?;
    let file = folder.path().join("level");
    ns.operator.set_env("EVENTCAST_LOG_FORMAT", "json");
    ns.operator.set_env("EVENTCAST_LOG_LEVEL_FILE", &file.to_string_lossy());
    ns.operator.relaunch()?; // without the file
    ns.operator.leads(WAIT_TIMEOUT).await?;
    ns.apply("orders", json!({})).await?;
    ns.condition("orders", "Accepted", "True", "Accepted").await?;
    let logged = |text: &str| ns.operator.log().contains(text);
    let debug = "\"level\":\"DEBUG\"";
    assert!(!logged(debug), "at the start");
    for (level, text) in [
        ("info,eventcast_operator=debug", "applied the log filter of the file"),
        ("inof", "inof is not a level"),
    ] {
        fs::write(&file, level)?;
        eventually(level, WAIT_TIMEOUT, || async { logged(text).then_some(()) }).await?;
    }
    ns.apply("payments", json!({})).await?;
    eventually("a line at debug level", WAIT_TIMEOUT, || async { logged(debug).then_some(()) })
        .await?;
    let log = ns.operator.log();
    let of_this_life: Vec<_> = log.split_inclusive('\n').filter(|l| l.starts_with('{')).collect();
    let lines = logs::lines(&of_this_life.concat())?;
    assert!(lines.iter().any(|line| line["message"] == "leading"), "{log}");
    logs::check(&lines)
}

#[tokio::test]
async fn the_admin_port_is_reached_with_both_families() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    for host in ["127.0.0.1", "[::1]"] {
        let (status, text) = ns.operator.get_from(host, "/livez").await?;
        assert_eq!((status, &*text), (200, "ok\n"), "{host}");
    }
    Ok(())
}

/// For every file with credentials, the last log line names the file and says what is wrong with it.
#[tokio::test]
async fn a_file_of_nats_that_cannot_be_read_is_named_with_the_reason() -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-operator-")?;
    let kubeconfig = folder.path().join("kubeconfig");
    let nobody = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "nobody",
        "clusters": [{"name": "nobody", "cluster": {"server": "http://127.0.0.1:4"}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "nobody", "context": {"cluster": "nobody", "user": "nobody"}}],
    });
    fs::write(&kubeconfig, nobody.to_string())?;
    for (flag, path) in [
        ("--nats-password-file", "/nowhere/password"),
        ("--nats-token-file", "/nowhere/token"),
        ("--nats-credentials-file", "/nowhere/nats.creds"),
        ("--nats-ca-file", "/nowhere/ca.crt"),
    ] {
        let arguments = [
            format!("KUBECONFIG={}", kubeconfig.display()),
            process::built("eventcast-operator").display().to_string(),
            "run".into(),
            "--admin=127.0.0.1:0".into(),
            "--nats-servers=nats://127.0.0.1:4".into(),
            "--nats-user=u".into(),
            "--broker-image=none".into(),
            format!("{flag}={path}"),
        ];
        let env = Path::new("env");
        let mut operator = Process::spawn("operator", env, &arguments, folder.path())?;
        let status = operator.wait_exit(WAIT_TIMEOUT).await?;
        assert_eq!(status.code(), Some(1), "{}", operator.stderr());
        let log = operator.stderr();
        let last = log.lines().last().context("no word")?;
        assert!(last.contains(path) && last.contains("No such file"), "{last}");
    }
    Ok(())
}

#[tokio::test]
async fn a_reconcile_that_panics_ends_the_operator_and_gives_the_lease_up() -> Result<()> {
    init_tracing();
    let mut ns = TestNamespace::start().await?;
    let folder = process::folder("eventcast-faults-")?;
    let faults = FaultFile::new(folder.path());
    ns.operator.set_env(FaultFile::VARIABLE, &faults.path().to_string_lossy());
    ns.operator.relaunch()?;
    ns.operator.leads(WAIT_TIMEOUT).await?;
    faults.panic("reconcile")?;
    ns.apply("orders", json!({})).await?;
    assert_eq!(ns.operator.wait_exit(WAIT_TIMEOUT).await?, EXIT_FAILED, "{}", ns.operator.log());
    last_word(&ns.operator.log(), "reconcile of ")?;
    assert_eq!(holder(&ns).await?, None, "no reconcile is running, so the lease is released");
    Ok(())
}
