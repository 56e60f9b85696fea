//! A namespace with its own operator and a real NATS server: what most tests of the operator start with.
//!
//! There is no controller-manager: owned objects outlive their owner, and a Deployment has the status that the test gives it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::Config as StreamConfig;
use eventcast_crds::{
    channel::EventChannel,
    crd::{Crd, crds_yaml},
};
use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    eventually,
    kube::{ApiServer, Cluster, temp_namespace},
    nats::NatsServer,
    operator::{Operator, Options},
    pods,
};

/// Time in which an operator must notice a change and act.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(45);

/// A namespace, an operator that watches it, and NATS.
pub struct TestNamespace {
    /// A client with every right.
    pub client: Client,
    /// Its name.
    pub name: String,
    /// NATS.
    pub nats: NatsServer,
    /// The operator.
    pub operator: Operator,
    /// The API server. Last: it holds the files that the operator reads.
    pub cluster: Cluster,
}

/// Applies the CRDs, and waits until the API server serves them.
///
/// # Errors
/// When it rejects one.
pub async fn install_crd(cluster: &Cluster) -> Result<()> {
    let text = crds_yaml()?;
    let applied = cluster
        .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(&text))
        .await?;
    let said = String::from_utf8_lossy(&applied.stderr).into_owned();
    ensure!(applied.status.success(), "a CRD is rejected: {said}");
    ensure!(!said.contains("Warning"), "the API server warns of a CRD: {said}");
    let name = |crd: Crd| format!("crd/{}s.eventcast.dev", crd.kind().to_lowercase());
    let names = Crd::ALL.map(name);
    // `kubectl wait` gives up at once if the API server has not written a status yet.
    eventually("the CRDs are served", WAIT_TIMEOUT, || async {
        let wait = ["wait", "--for=condition=Established", "--timeout=5s"];
        let wait = [&wait[..], &names.each_ref().map(String::as_str)].concat();
        let waited = cluster.kubectl(&wait, None).await?;
        ensure!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
        anyhow::Ok(())
    })
    .await
}

/// Creates a channel, or changes it to exactly this spec.
///
/// # Errors
/// When it is refused.
pub async fn apply(
    client: &Client,
    namespace: &str,
    name: &str,
    spec: Value,
) -> Result<EventChannel> {
    let object = json!({
        "apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel",
        "metadata": {"name": name}, "spec": spec,
    });
    let api: Api<EventChannel> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams::apply("a-person").force();
    Ok(api.patch(name, &params, &Patch::Apply(object)).await?)
}

/// Waits until conditions of a channel hold, for the present generation.
///
/// # Errors
/// When they do not within `within`.
pub async fn holds(
    client: &Client,
    namespace: &str,
    name: &str,
    kinds: &[&str],
    within: Duration,
) -> Result<()> {
    let api: Api<EventChannel> = Api::namespaced(client.clone(), namespace);
    eventually(&format!("{kinds:?} of {name}"), within, || async {
        let channel = api.get(name).await?;
        let (generation, status) =
            (channel.metadata.generation, channel.status.unwrap_or_default());
        ensure!(status.observed_generation == generation, "not looked at");
        for kind in kinds {
            let good = status.conditions.iter().any(|c| c.type_ == *kind && c.status == "True");
            ensure!(good, "{status:?}");
        }
        anyhow::Ok(())
    })
    .await
}

impl TestNamespace {
    /// A new namespace on the API server that the tests of a run share.
    ///
    /// # Errors
    /// When a part of it does not come up.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// As [`start`](Self::start), with further arguments for the operator.
    ///
    /// # Errors
    /// When a part of it does not come up.
    pub async fn start_with(more: &[&str]) -> Result<Self> {
        let cluster = ApiServer::shared().await?;
        install_crd(&cluster).await?;
        let client = cluster.client().await?;
        let namespace = temp_namespace(&client).await?;
        let nats = NatsServer::start().await?;
        let operator = Operator::start(Options {
            more: more.iter().map(|m| (*m).to_owned()).collect(),
            ..Options::of(cluster.admin_kubeconfig(), &nats, &namespace)
        })
        .await?;
        Ok(Self { client, name: namespace, nats, operator, cluster })
    }

    /// Objects of a kind in the namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Creates a channel, or changes it to exactly this spec.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn apply(&self, name: &str, spec: Value) -> Result<EventChannel> {
        apply(&self.client, &self.name, name, spec).await
    }

    /// Deletes a channel; does not wait.
    ///
    /// # Errors
    /// When it cannot be.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.api::<EventChannel>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until a condition of a channel has this status and reason, for the current generation, and returns it.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn condition(
        &self,
        name: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Result<Condition> {
        let wanted = format!("{kind}={status} ({reason}) of {name}");
        let found = eventually(&wanted, WAIT_TIMEOUT, || async {
            let channel = self.api::<EventChannel>().get(name).await?;
            let generation = channel.metadata.generation;
            let conditions = channel.status.unwrap_or_default().conditions;
            let found =
                conditions.into_iter().find(|c| c.type_ == kind).context("no such condition")?;
            ensure!(
                (&*found.status, &*found.reason) == (status, reason)
                    && found.observed_generation == generation,
                "{} ({}): {}",
                found.status,
                found.reason,
                found.message
            );
            Ok(found)
        });
        found.await.map_err(|error| error.context(crate::process::tail(&self.operator.log(), 30)))
    }

    /// Waits until the spec is accepted and the stream exists: as far as the operator gets without a kubelet.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn settled(&self, name: &str) -> Result<()> {
        self.condition(name, "Accepted", "True", "Accepted").await?;
        self.condition(name, "StreamReady", "True", "StreamReady").await?;
        Ok(())
    }

    /// Waits until `holds` is true of an object of the channel, and returns the object.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn object<K>(&self, name: &str, holds: impl Fn(&K) -> bool) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let name = format!("{name}-broker");
        let what = format!("{} {name}", K::kind(&()));
        let found = eventually(&what, WAIT_TIMEOUT, || async {
            let object = self.api::<K>().get(&name).await?;
            ensure!(holds(&object), "it is {object:?}");
            anyhow::Ok(object)
        });
        found.await
    }

    /// The stream of a channel, if there is one.
    ///
    /// # Errors
    /// When NATS does not answer.
    pub async fn stream(&self, name: &str) -> Result<StreamConfig> {
        let jetstream = self.nats.jetstream().await?;
        let stream = jetstream.get_stream(format!("SSE_{}_{name}", self.name)).await?;
        Ok(stream.cached_info().config.clone())
    }

    /// Writes the status of a channel's Deployment as a controller-manager would, with all brokers ready.
    ///
    /// # Errors
    /// When there is none.
    pub async fn make_ready(&self, name: &str) -> Result<()> {
        let deployment = self.object::<Deployment>(name, |_| true).await?;
        let count = deployment.spec.and_then(|s| s.replicas).unwrap_or(1);
        let status = json!({"status": pods::ready(deployment.metadata.generation, count)});
        let api = self.api::<Deployment>();
        api.patch_status(&format!("{name}-broker"), &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    }

    /// Waits for an Event of a channel with a reason: the operator sends Events after it has written the status.
    ///
    /// # Errors
    /// When there is none in time; the error lists the reasons there are.
    pub async fn event(&self, name: &str, reason: &str) -> Result<()> {
        let api: Api<k8s_openapi::api::events::v1::Event> = self.api();
        let of = |e: &k8s_openapi::api::events::v1::Event| {
            e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name)
        };
        let what = format!("the Event {reason} of {name}");
        let found = eventually(&what, WAIT_TIMEOUT, || async {
            let all = api.list(&kube::api::ListParams::default()).await?;
            let reasons: Vec<_> =
                all.items.into_iter().filter(of).filter_map(|e| e.reason).collect();
            ensure!(reasons.iter().any(|r| r == reason), "its Events are {reasons:?}");
            anyhow::Ok(())
        });
        found.await
    }
}
