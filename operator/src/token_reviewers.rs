//! Gives brokers the right to verify tokens of service accounts, and takes it away again.
//!
//! The right (`create tokenreviews`) exists only for the whole cluster. The chart makes a ClusterRole with it and a ClusterRoleBinding
//! without subjects; the subjects are the ServiceAccounts of the channels with `access.kubernetes`. The operator may change that one
//! ClusterRoleBinding, and no other.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use eventcast_runtime::Chain;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    broker_reports::BrokerReports,
    leader::Fence,
    metrics::Metrics,
    names::FIELD_MANAGER,
    owner::{ChannelKey, OwnerKey, OwnerKind},
    scope::Scope,
};

/// Interval at which the channels are compared with the subjects that were written. A new broker waits that long for its right.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of the attempts while the API server rejects the change.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// Subjects that fit into one object: etcd stores 1.5 MiB.
const MAX_SUBJECTS: usize = 5000;

const KIND: &str = "ClusterRoleBinding";
const NO_BINDING: &str = "the operator has no ClusterRoleBinding to give brokers the right to review tokens: set rbac.kubernetesIdentities=true in the chart";

/// Keeps the subjects of `binding` up to date until the future is dropped. `None`: the chart made none.
pub async fn run(
    client: &Client,
    binding: Option<&str>,
    fence: &Fence,
    metrics: &Metrics,
    scopes: &[Arc<Scope>],
    reports: &BrokerReports,
    resync: Duration,
) {
    let Some(binding) = binding else {
        set_failure(reports, scopes, Some(NO_BINDING.into())).await;
        return std::future::pending().await;
    };
    for scope in scopes {
        // Subjects that are missing only because a cache is not complete must not lose their right.
        scope.wait_channels_listed().await;
    }
    let mut written: Option<(BTreeSet<ChannelKey>, Instant)> = None;
    loop {
        let wanted = with_identities(scopes);
        // Written again from time to time: nobody watches the object.
        let is_current =
            written.as_ref().is_some_and(|(last, at)| *last == wanted && at.elapsed() < resync);
        let mut pause = COMPARE_INTERVAL;
        if !is_current && fence.check().is_ok() {
            match write(client, binding, &wanted).await {
                Ok(()) => {
                    metrics.wrote(KIND, "apply");
                    written = Some((wanted, Instant::now()));
                    set_failure(reports, scopes, None).await;
                }
                Err(error) => {
                    let cause = Chain(&error).to_string();
                    tracing::warn!(
                        binding,
                        error = cause,
                        "cannot let brokers review tokens; retrying"
                    );
                    let failure = format!(
                        "the operator cannot let brokers review tokens, because it cannot write {KIND} {binding} ({cause}): upgrade the chart, or \
                         create the object again with helm upgrade"
                    );
                    set_failure(reports, scopes, Some(failure)).await;
                    pause = RETRY_INTERVAL;
                }
            }
        }
        sleep(pause).await;
    }
}

/// The channels that accept tokens of service accounts.
fn with_identities(scopes: &[Arc<Scope>]) -> BTreeSet<ChannelKey> {
    let channels = scopes.iter().flat_map(|scope| scope.channels.state());
    let channels = channels.filter(|raw| has_identities(raw));
    channels.map(|raw| (raw.namespace().unwrap_or_default(), raw.name_any())).collect()
}

fn has_identities(channel: &DynamicObject) -> bool {
    channel.data.pointer("/spec/access/kubernetes").is_some_and(Value::is_object)
}

async fn write(
    client: &Client,
    binding: &str,
    channels: &BTreeSet<ChannelKey>,
) -> Result<(), kube::Error> {
    if channels.len() > MAX_SUBJECTS {
        tracing::error!(
            channels = channels.len(),
            limit = MAX_SUBJECTS,
            "more channels accept tokens of service accounts than fit into one ClusterRoleBinding; the last ones get no right"
        );
    }
    let subject = |channel: &ChannelKey| {
        let name = OwnerKey::channel(channel.clone()).object_name();
        json!({"kind": "ServiceAccount", "name": name, "namespace": channel.0})
    };
    let subjects: Vec<_> = channels.iter().take(MAX_SUBJECTS).map(subject).collect();
    let resource = ApiResource::from_gvk_with_plural(
        &kube::core::GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", KIND),
        "clusterrolebindings",
    );
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    // The role stays that of the chart. The operator may not create the object, so this fails if it does not exist.
    let patch = json!({
        "apiVersion": resource.api_version, "kind": KIND, "metadata": {"name": binding}, "subjects": subjects,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(binding, &params, &Patch::Apply(&patch)).await.map(|_| ())
}

/// Every channel with identities reports a change.
async fn set_failure(reports: &BrokerReports, scopes: &[Arc<Scope>], failure: Option<String>) {
    if !reports.set_review_failure(failure) {
        return;
    }
    for scope in scopes {
        for channel in scope.channels.state().iter().filter(|raw| has_identities(raw)) {
            scope.request(&OwnerKey::of(OwnerKind::Channel, channel)).await;
        }
    }
}
