//! A new version of the brokers with many channels: how many are replaced at the same time, what a version that does not run reaches, and what the
//! operator uses meanwhile. There is no controller-manager: each Deployment is said to be complete after a while.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{eventually, namespace::TestNamespace, pods, process};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{as_many, usage::processor};

/// How long the rollout of one channel takes.
const ROLLOUT: Duration = Duration::from_secs(3);
const SOAK_SECONDS: u64 = 10;
/// How long it is watched that a version that does not run reaches nobody else.
const HALT: Duration = Duration::from_secs(30);
const CREATE_TIMEOUT: Duration = Duration::from_secs(300);
const ROLLOUT_TIMEOUT: Duration = Duration::from_secs(1800);

/// What is seen of the Deployments.
#[derive(Default)]
struct Seen {
    /// Those that have the template of the newest version.
    upgraded: BTreeSet<String>,
    /// Those that are not complete.
    rolling: BTreeSet<String>,
    most_rolling: usize,
    version: &'static str,
    /// Whether new pods become ready.
    runs: bool,
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) async fn run(count: usize) -> Result<()> {
    let folder = process::folder("eventcast-rollout-")?;
    let file = folder.path().join("defaults.yaml");
    let soak = format!("--rollout-soak-seconds={SOAK_SECONDS}");
    let mut ns = TestNamespace::start_with(&[&soak]).await?;
    ns.operator.set_env("EVENTCAST_BROKER_DEFAULTS", file.to_str().context("UTF-8")?);
    let seen = Arc::new(Mutex::new(Seen { runs: true, ..Seen::default() }));
    let controller = tokio::spawn(complete_rollouts(ns.api(), Arc::clone(&seen)));
    stream::iter(0..count)
        .map(|i| {
            let (ns, name) = (&ns, format!("c{i}"));
            async move { ns.apply(&name, json!({"retention": {"maxBytes": 1_000_000}})).await }
        })
        .buffer_unordered(8)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    let all_complete = || async {
        let upgraded = seen.lock().upgraded.len();
        ensure!(upgraded == count, "{upgraded} of {count} are upgraded");
        let rolling = seen.lock().rolling.len();
        ensure!(rolling == 0, "{rolling} are under way");
        anyhow::Ok(())
    };
    eventually("all have brokers", CREATE_TIMEOUT, all_complete).await?;

    let upgrade = |ns: &mut TestNamespace, version, runs| {
        *seen.lock() = Seen { version, runs, ..Seen::default() };
        std::fs::write(&file, format!("labels: {{version: {version}}}\n"))?;
        ns.operator.relaunch()
    };
    upgrade(&mut ns, "broken", false)?;
    ns.operator.leads(Duration::from_secs(60)).await?;
    eventually("one begins", CREATE_TIMEOUT, || async {
        ensure!(!seen.lock().upgraded.is_empty(), "none");
        anyhow::Ok(())
    })
    .await?;
    sleep(HALT).await;
    let reached = seen.lock().upgraded.len();
    println!("channels                      {count}");
    println!("reached by a version that does not run  {reached}");

    upgrade(&mut ns, "two", true)?;
    let began = Instant::now();
    eventually("all are upgraded", ROLLOUT_TIMEOUT, all_complete).await?;
    let (took, pid) = (began.elapsed(), ns.operator.process()?.pid());
    let writes = ns.operator.metric("eventcast_operator_api_writes_total", &[]).await?;
    println!("all upgraded after            {:.0} s", took.as_secs_f64());
    println!("most at the same time         {}", seen.lock().most_rolling);
    println!("writes till then              {}", as_many(writes));
    println!("operator's processor till then {:.1} s", processor(pid)?.as_secs_f64());
    controller.abort();
    Ok(())
}

/// Completes each rollout after a while.
async fn complete_rollouts(api: Api<Deployment>, seen: Arc<Mutex<Seen>>) -> Result<()> {
    let changes = watcher(api.clone(), watcher::Config::default()).default_backoff();
    let mut changes = std::pin::pin!(changes.applied_objects());
    while let Some(deployment) = changes.try_next().await? {
        let (name, generation) = (deployment.name_any(), deployment.metadata.generation);
        let runs = {
            let mut seen = seen.lock();
            let template = deployment.spec.and_then(|spec| spec.template.metadata);
            let version = template.and_then(|metadata| metadata.labels?.remove("version"));
            if version.unwrap_or_default() == seen.version {
                seen.upgraded.insert(name.clone());
            }
            let observed = deployment.status.and_then(|status| status.observed_generation);
            if observed == generation {
                seen.rolling.remove(&name);
                continue;
            }
            seen.rolling.insert(name.clone());
            seen.most_rolling = seen.most_rolling.max(seen.rolling.len());
            seen.runs
        };
        let api = api.clone();
        tokio::spawn(async move {
            sleep(ROLLOUT).await;
            let status = if runs { pods::rolled_out(generation) } else { pods::stuck(generation) };
            let patch = Patch::Merge(json!({"status": status}));
            api.patch_status(&name, &PatchParams::default(), &patch).await
        });
    }
    Ok(())
}
