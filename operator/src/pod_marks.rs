//! Annotations of broker pods: which one Kubernetes removes first, what its broker is asked to do, and which channels it serves. Each has a field manager of its own, so that
//! one does not remove the other.

use eventcast_crds::orders::{self, Order};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    leader::{Fence, NotLeader},
    metrics::Metrics,
    names::{
        DELETION_COST_ANNOTATION, DELETION_COST_MANAGER, ORDERS_MANAGER, POOL_CONFIG_ANNOTATION,
        POOL_CONFIG_MANAGER,
    },
};

/// The cost of a pod that is to be removed first. Others have none, which counts as 0.
pub const VICTIM_COST: &str = "-1";

/// Why a pod has no mark.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// The operator has no right to patch pods.
    #[error("the operator may not patch pods")]
    Forbidden,
    /// Somebody else has set the annotation.
    #[error("{0} belongs to another client")]
    Conflict(&'static str),
    /// The pod is gone, or the request failed.
    #[error("failed to annotate a pod")]
    Api(#[source] kube::Error),
    /// Another replica may be the leader.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
}

/// Writes the annotations.
pub struct PodMarks<'a> {
    client: &'a Client,
    fence: &'a Fence,
    metrics: &'a Metrics,
}

impl<'a> PodMarks<'a> {
    /// Writes with `client` while `fence` is open.
    #[must_use]
    pub fn new(client: &'a Client, fence: &'a Fence, metrics: &'a Metrics) -> Self {
        Self { client, fence, metrics }
    }

    /// Makes Kubernetes remove the pod before others, or no longer. A cost that somebody else has set stays.
    ///
    /// # Errors
    /// See [`MarkError`].
    pub async fn mark_victim(&self, pod: &Pod, is_victim: bool) -> Result<(), MarkError> {
        let value = is_victim.then_some(VICTIM_COST);
        let params = PatchParams::apply(DELETION_COST_MANAGER);
        self.annotate(pod, DELETION_COST_ANNOTATION, value, params).await
    }

    /// Gives an order to the broker of the pod, or takes it back.
    ///
    /// # Errors
    /// See [`MarkError`].
    pub async fn order(&self, pod: &Pod, order: Option<&Order>) -> Result<(), MarkError> {
        let value = order.map(|order| json!(order).to_string());
        let params = PatchParams::apply(ORDERS_MANAGER).force();
        self.annotate(pod, orders::ANNOTATION, value.as_deref(), params).await
    }

    /// Makes the kubelet bring the files of the channels of a pool, which have this hash.
    ///
    /// # Errors
    /// See [`MarkError`].
    pub async fn refresh_channels(&self, pod: &Pod, hash: &str) -> Result<(), MarkError> {
        let params = PatchParams::apply(POOL_CONFIG_MANAGER).force();
        self.annotate(pod, POOL_CONFIG_ANNOTATION, Some(hash), params).await
    }

    async fn annotate(
        &self,
        pod: &Pod,
        annotation: &'static str,
        value: Option<&str>,
        params: PatchParams,
    ) -> Result<(), MarkError> {
        self.fence.check()?;
        // With the uid, so that no pod is created in place of one that is gone.
        let mut patch = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod.name_any(), "uid": pod.uid()},
        });
        if let Some(value) = value {
            patch["metadata"]["annotations"] = json!({annotation: value});
        }
        let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        match api.patch_metadata(&pod.name_any(), &params, &Patch::Apply(&patch)).await {
            Ok(_) => {
                self.metrics.wrote("Pod", "apply");
                Ok(())
            }
            Err(kube::Error::Api(e)) if e.is_forbidden() => Err(MarkError::Forbidden),
            Err(kube::Error::Api(e)) if e.is_conflict() && e.message.contains("Apply failed") => {
                Err(MarkError::Conflict(annotation))
            }
            Err(error) => Err(MarkError::Api(error)),
        }
    }
}
