//! HorizontalPodAutoscalers that other people, or KEDA, have made for the Deployments of channels. They are listed, not watched: there are few, and a
//! watch would cache those of the whole cluster.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use eventcast_runtime::Chain;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::Watched;
use crate::{names::FIELD_MANAGER, owner::OwnerKey};

/// Interval of the lists of one namespace.
const LIST_INTERVAL: Duration = Duration::from_secs(300);

/// The autoscalers of others, by channel.
#[derive(Default)]
pub(super) struct ForeignAutoscalers {
    /// When each namespace was listed, since the looks began.
    listed: HashMap<String, Duration>,
    found: HashMap<OwnerKey, String>,
}

impl ForeignAutoscalers {
    /// Lists the namespaces of channels that the operator scales, each every five minutes. At first all at once: nothing is scaled before.
    pub(super) async fn refresh(&mut self, client: &Client, watched: &[Watched], now: Duration) {
        let scaled = watched.iter().filter(|watched| watched.workload.autoscaling().is_some());
        let scaled: BTreeSet<&OwnerKey> = scaled.map(|watched| watched.key()).collect();
        self.found.retain(|key, _| scaled.contains(key));
        let namespaces: BTreeSet<&String> = scaled.iter().map(|key| &key.namespace).collect();
        self.listed.retain(|namespace, _| namespaces.contains(namespace));
        for namespace in namespaces {
            let last = self.listed.get(namespace);
            if last.is_some_and(|last| now.saturating_sub(*last) < LIST_INTERVAL) {
                continue;
            }
            let api = Api::<HorizontalPodAutoscaler>::namespaced(client.clone(), namespace);
            match api.list(&ListParams::default()).await {
                Ok(list) => {
                    self.listed.insert(namespace.clone(), now);
                    for key in scaled.iter().filter(|key| key.namespace == *namespace) {
                        match list.items.iter().find(|hpa| is_foreign(hpa, key)) {
                            Some(hpa) => self.found.insert((*key).clone(), hpa.name_any()),
                            None => self.found.remove(*key),
                        };
                    }
                }
                Err(error) => {
                    tracing::warn!(namespace, error = %Chain(&error), "cannot list HorizontalPodAutoscalers");
                }
            }
        }
    }

    /// Name of an autoscaler of somebody else that scales the same brokers.
    pub(super) fn of(&self, owner: &OwnerKey) -> Option<String> {
        self.found.get(owner).cloned()
    }
}

/// Whether an autoscaler scales the brokers of a channel and is not the operator's own.
fn is_foreign(hpa: &HorizontalPodAutoscaler, owner: &OwnerKey) -> bool {
    let managed = hpa.labels().get("app.kubernetes.io/managed-by");
    let Some(target) = hpa.spec.as_ref().map(|spec| &spec.scale_target_ref) else { return false };
    let scales = match &*target.kind {
        "Deployment" => target.name == owner.object_name(),
        kind => kind == owner.kind.as_str() && target.name == owner.name,
    };
    scales && managed.is_none_or(|managed| managed != FIELD_MANAGER)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn autoscalers_of_others_are_told_from_the_own() {
        let channel = OwnerKey::channel(("shop".to_owned(), "orders".to_owned()));
        let foreign = |kind: &str, name: &str, manager: &str| {
            let hpa = json!({
                "metadata": {"name": "h", "labels": {"app.kubernetes.io/managed-by": manager}},
                "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": kind, "name": name}},
            });
            is_foreign(&serde_json::from_value(hpa).unwrap(), &channel)
        };
        assert!(foreign("Deployment", "orders-broker", "keda-operator"));
        assert!(foreign("EventChannel", "orders", "Helm"));
        assert!(!foreign("Deployment", "orders-broker", FIELD_MANAGER));
        assert!(!foreign("Deployment", "orders", "Helm"));
        assert!(!foreign("StatefulSet", "orders-broker", "Helm"));
    }
}
