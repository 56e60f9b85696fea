//! A channel in a namespace of its own, as scenarios use it.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Cluster, Reach};
use crate::{eventually, repository};

/// For what takes a pod or two.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(120);
/// The name of the channel of `examples/minimal.yaml`.
const NAME: &str = "demo";
/// Its Deployment.
const BROKERS: &str = "deployment/demo-broker";

/// The channel `demo` of a namespace.
#[derive(Clone, Debug)]
pub struct Channel<'a> {
    cluster: &'a Cluster,
    /// Its namespace.
    pub namespace: String,
}

impl<'a> Channel<'a> {
    /// Makes a namespace that admits no privileged pod, and the channel of the example in it. The name of the namespace is new,
    /// because streams outlive their channels.
    ///
    /// # Errors
    /// When the channel does not become ready.
    pub async fn create(cluster: &'a Cluster, purpose: &str) -> Result<Self> {
        let channel = Self::in_new_namespace(cluster, purpose).await?;
        channel.apply().await?;
        channel.wait("condition=Ready").await?;
        Ok(channel)
    }

    /// The namespace alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn in_new_namespace(cluster: &'a Cluster, purpose: &str) -> Result<Self> {
        let namespace = format!("e2e-{purpose}-{:06x}", fastrand::u32(..1 << 24));
        cluster.restricted_namespace(&namespace).await?;
        Ok(Self { cluster, namespace })
    }

    /// The channel of a namespace that exists.
    #[must_use]
    pub fn of(cluster: &'a Cluster, namespace: &str) -> Self {
        Self { cluster, namespace: namespace.to_owned() }
    }

    /// Applies the example.
    ///
    /// # Errors
    /// When the API server rejects it.
    pub async fn apply(&self) -> Result<()> {
        let example = repository().join("charts/eventcast/examples/minimal.yaml");
        let manifest = std::fs::read_to_string(&example)
            .with_context(|| format!("failed to read {}", example.display()))?;
        self.cluster.apply(&self.namespace, &manifest).await
    }

    /// Changes fields of the channel.
    ///
    /// # Errors
    /// When the API server rejects it.
    pub async fn patch(&self, change: Value) -> Result<()> {
        let change = change.to_string();
        self.kubectl(&["patch", "evch/demo", "--type=merge", "-p", &change]).await?;
        Ok(())
    }

    /// What kubectl prints about the namespace.
    ///
    /// # Errors
    /// Its error output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["-n", &self.namespace], arguments].concat()).await
    }

    /// An object of the namespace.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get(&self, what: &str) -> Result<Value> {
        self.cluster.get(&self.namespace, what).await
    }

    /// Waits for a condition of the channel, as `kubectl wait --for` has it.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub async fn wait(&self, condition: &str) -> Result<()> {
        self.cluster.wait(&self.namespace, "evch/demo", condition, WAIT_TIMEOUT).await
    }

    /// Scales the channel, and waits until exactly this many brokers serve.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn scale(&self, count: usize) -> Result<()> {
        self.kubectl(&["scale", "evch/demo", &format!("--replicas={count}")]).await?;
        self.brokers(count).await
    }

    /// Waits until exactly this many brokers serve.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn brokers(&self, count: usize) -> Result<()> {
        for key in ["replicas", "readyReplicas", "availableReplicas"] {
            let condition = format!("jsonpath={{.status.{key}}}={count}");
            self.cluster.wait(&self.namespace, BROKERS, &condition, WAIT_TIMEOUT).await?;
        }
        self.wait("condition=Ready").await
    }

    /// Waits until exactly this many brokers serve, and those that ended are gone.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn settled(&self, count: usize) -> Result<()> {
        self.brokers(count).await?;
        eventually("brokers that ended are gone", WAIT_TIMEOUT, || async {
            let pods = self.kubectl(&["get", "pods", "-o", "name"]).await?;
            ensure!(pods.lines().count() == count, "{pods}");
            anyhow::Ok(())
        })
        .await
    }

    /// Changes fields of the channel that are a part of the pod template, and waits until all brokers have been replaced.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn roll(&self, change: Value) -> Result<()> {
        let before = self.template().await?;
        self.patch(change).await?;
        self.rolled(&before).await
    }

    /// Waits until the pod template is another one, and all brokers have it.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn rolled(&self, before: &Value) -> Result<()> {
        eventually("the operator changes the pod template", WAIT_TIMEOUT, || async {
            ensure!(self.template().await? != *before, "the pod template is the same");
            anyhow::Ok(())
        })
        .await?;
        self.kubectl(&["rollout", "status", BROKERS, "--timeout=180s"]).await?;
        let replicas = &self.get(BROKERS).await?["spec"]["replicas"];
        let replicas = replicas.as_u64().context("a Deployment without replicas")?;
        self.settled(usize::try_from(replicas)?).await
    }

    /// The pod template of the brokers.
    ///
    /// # Errors
    /// When there are none.
    pub async fn template(&self) -> Result<Value> {
        Ok(self.get(BROKERS).await?["spec"]["template"].clone())
    }

    /// The names of the brokers' pods that do not end.
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    pub async fn pods(&self) -> Result<Vec<String>> {
        let list = self.get("pods").await?;
        let pods = list["items"].as_array().context("no list of pods")?;
        let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let name =
            |pod: &Value| Ok(pod["metadata"]["name"].as_str().context("no name")?.to_owned());
        alive.map(name).collect()
    }

    /// A way to the brokers.
    ///
    /// # Errors
    /// When none answers.
    pub async fn reach(&self) -> Result<Reach> {
        Reach::to(self.cluster, &self.namespace, NAME).await
    }

    /// The way to the brokers through this address of their Service.
    ///
    /// # Errors
    /// When none answers.
    pub async fn reach_at(&self, address: IpAddr) -> Result<Reach> {
        Reach::at(address, &self.namespace, NAME).await
    }

    /// Deletes the channel with its stream, and the namespace.
    ///
    /// # Errors
    /// When something stays.
    pub async fn leave(self) -> Result<()> {
        self.patch(json!({"spec": {"deletionPolicy": "Delete"}})).await?;
        // the operator guards the deletion from then on
        self.wait("jsonpath={.metadata.finalizers[0]}").await?;
        self.kubectl(&["delete", "evch/demo", "--timeout=60s"]).await?;
        // pods first: a namespace that has some when it is deleted looks again only after half their time to end
        self.kubectl(&["wait", "--for=delete", "pod", "--all", "--timeout=60s"]).await?;
        self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).await?;
        Ok(())
    }
}
