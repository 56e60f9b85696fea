//! What the operator itself changes reaches channel after channel; what a person changes does not wait. There is no controller-manager: the test says how
//! far each Deployment is.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    eventually, init_tracing,
    namespace::{TestNamespace, WAIT_TIMEOUT},
    pods, process,
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Long enough to see that nothing happens: the gate is asked every two seconds.
const QUIET_TIME: Duration = Duration::from_secs(6);

struct Fleet {
    ns: TestNamespace,
    folder: TempDir,
    names: Vec<String>,
}

impl Fleet {
    /// Channels whose brokers are well, and an operator with these arguments.
    async fn start(count: usize, arguments: &[&str]) -> Result<Self> {
        init_tracing();
        let folder = process::folder("eventcast-fleet-")?;
        let mut ns = TestNamespace::start_with(arguments).await?;
        let file = folder.path().join("defaults.yaml");
        ns.operator.set_env("EVENTCAST_BROKER_DEFAULTS", file.to_str().context("UTF-8")?);
        let names: Vec<_> = (0..count).map(|i| format!("c{i}")).collect();
        let fleet = Self { ns, folder, names };
        for name in &fleet.names {
            fleet.ns.apply(name, json!({})).await?;
        }
        for name in &fleet.names {
            fleet.ns.object::<Deployment>(name, |_| true).await?;
            fleet.rolled_out(name).await?;
        }
        Ok(fleet)
    }

    /// Starts the operator again, with this label on all brokers.
    async fn upgrade(&mut self, label: &str) -> Result<()> {
        let file = self.folder.path().join("defaults.yaml");
        std::fs::write(file, format!("labels: {{version: {label}}}\n"))?;
        self.ns.operator.relaunch()
    }

    /// Writes the status of a Deployment.
    async fn status(&self, name: &str, status: Value) -> Result<()> {
        let patch = Patch::Merge(json!({"status": status}));
        let name = format!("{name}-broker");
        self.ns.api::<Deployment>().patch_status(&name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// The brokers of a channel run its template, from now on.
    async fn rolled_out(&self, name: &str) -> Result<()> {
        let generation = self.deployment(name).await?.metadata.generation;
        self.status(name, pods::rolled_out(generation)).await
    }

    /// The new broker of a channel does not become ready; the old one serves.
    async fn stuck(&self, name: &str) -> Result<()> {
        let generation = self.deployment(name).await?.metadata.generation;
        self.status(name, pods::stuck(generation)).await
    }

    async fn deployment(&self, name: &str) -> Result<Deployment> {
        Ok(self.ns.api::<Deployment>().get(&format!("{name}-broker")).await?)
    }

    /// The channels whose brokers are to have the label.
    async fn upgraded(&self, label: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for name in &self.names {
            let template = self.deployment(name).await?.spec.context("no spec")?.template;
            let labels = template.metadata.and_then(|m| m.labels).unwrap_or_default();
            if labels.get("version").is_some_and(|version| version == label) {
                found.push(name.clone());
            }
        }
        Ok(found)
    }

    /// Those of the channels `upgraded` whose brokers do not run the new template yet.
    async fn rolling(&self, upgraded: &[String]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for name in upgraded {
            let Deployment { metadata, status, .. } = self.deployment(name).await?;
            if status.and_then(|status| status.observed_generation) != metadata.generation {
                found.push(name.clone());
            }
        }
        Ok(found)
    }

    async fn first(&self, label: &str) -> Result<String> {
        let first = eventually("a channel begins", WAIT_TIMEOUT, || async {
            self.upgraded(label).await?.pop().context("none")
        })
        .await?;
        sleep(QUIET_TIME).await;
        let upgraded = self.upgraded(label).await?;
        ensure!(
            upgraded == [first.clone()],
            "more than one before it is known to be well: {upgraded:?}"
        );
        Ok(first)
    }

    async fn annotate(&self, name: &str, value: Value) -> Result<()> {
        let patch =
            Patch::Merge(json!({"metadata": {"annotations": {"eventcast.dev/rollout": value}}}));
        self.ns.api::<EventChannel>().patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_new_version_reaches_channel_after_channel() -> Result<()> {
    let mut fleet = Fleet::start(7, &["--max-rollouts=2", "--rollout-soak-seconds=3"]).await?;
    fleet.annotate("c6", json!("Hold")).await?;
    let label = Patch::Merge(json!({"metadata": {"labels": {"eventcast.dev/rollout": "first"}}}));
    fleet.ns.api::<EventChannel>().patch("c3", &PatchParams::default(), &label).await?;
    fleet.upgrade("two").await?;
    let first = fleet.first("two").await?;
    assert_eq!(first, "c3", "the one with the label");
    fleet.ns.condition("c3", "UpToDate", "False", "RollingOut").await?;
    fleet.ns.condition("c0", "UpToDate", "False", "Queued").await?;
    fleet.ns.condition("c6", "UpToDate", "False", "Held").await?;
    fleet.ns.condition("c0", "Accepted", "True", "Accepted").await?;

    // What a person changes does not wait, and brings the new version along.
    fleet
        .ns
        .apply("c5", json!({"brokers": {"priorityClassName": "system-cluster-critical"}}))
        .await?;
    eventually("the channel of the person is upgraded", WAIT_TIMEOUT, || async {
        ensure!(fleet.upgraded("two").await?.contains(&"c5".to_owned()), "not yet");
        anyhow::Ok(())
    })
    .await?;
    fleet.rolled_out("c5").await?;

    // Another leader goes on where this one was.
    fleet.ns.operator.relaunch()?;
    fleet.rolled_out("c3").await?;
    let deadline = Instant::now() + 3 * WAIT_TIMEOUT;
    loop {
        let upgraded = fleet.upgraded("two").await?;
        let rolling = fleet.rolling(&upgraded).await?;
        ensure!(rolling.len() <= 2, "more than two at once: {rolling:?}");
        if upgraded.len() == 6 && rolling.is_empty() {
            break;
        }
        if let Some(name) = rolling.first() {
            fleet.rolled_out(name).await?;
        }
        ensure!(Instant::now() < deadline, "{upgraded:?} are upgraded, {rolling:?} are under way");
        sleep(Duration::from_millis(500)).await;
    }
    sleep(QUIET_TIME).await;
    assert_eq!(fleet.upgraded("two").await?.len(), 6, "the held one waits");
    fleet.ns.condition("c0", "UpToDate", "True", "UpToDate").await?;
    fleet.annotate("c6", Value::Null).await?;
    eventually("the held one follows", WAIT_TIMEOUT, || async {
        ensure!(fleet.upgraded("two").await?.len() == 7, "not yet");
        anyhow::Ok(())
    })
    .await
}

#[tokio::test]
async fn a_version_that_does_not_run_reaches_one_channel() -> Result<()> {
    let mut fleet = Fleet::start(4, &["--max-rollouts=3", "--rollout-soak-seconds=0"]).await?;
    fleet.upgrade("broken").await?;
    let first = fleet.first("broken").await?;
    fleet.stuck(&first).await?;
    let others: Vec<_> = fleet.names.iter().filter(|name| **name != first).cloned().collect();
    let condition = fleet.ns.condition(&others[0], "UpToDate", "False", "Halted").await?;
    ensure!(condition.message.contains(&format!("/{first}")), "{}", condition.message);
    fleet.ns.condition(&first, "UpToDate", "False", "Halted").await?;
    fleet.ns.event(&others[0], "Halted").await?;
    sleep(QUIET_TIME).await;
    assert_eq!(fleet.upgraded("broken").await?, std::slice::from_ref(&first));
    let halted = fleet.ns.operator.metric("eventcast_operator_rollouts", &[("state", "halted")]);
    assert_eq!(halted.await?, 4.0);

    // Back to what was before: it replaces what is broken, and nobody else.
    std::fs::write(fleet.folder.path().join("defaults.yaml"), "{}\n")?;
    let before = fleet.deployment(&others[0]).await?.resource_version();
    fleet.ns.operator.relaunch()?;
    eventually("the broken one is put back", WAIT_TIMEOUT, || async {
        ensure!(fleet.upgraded("broken").await?.is_empty(), "not yet");
        anyhow::Ok(())
    })
    .await?;
    fleet.rolled_out(&first).await?;
    fleet.ns.condition(&others[0], "UpToDate", "True", "UpToDate").await?;
    assert_eq!(fleet.deployment(&others[0]).await?.resource_version(), before, "it was replaced");
    Ok(())
}
