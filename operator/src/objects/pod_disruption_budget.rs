//! Limits how many brokers evictions may remove at once.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{metadata, pod_selector};
use crate::workload::Workload;

/// One broker at a time; a broker that is not ready can always be evicted. `None` for a channel with a single broker, which needs no
/// budget.
pub(super) fn build(workload: &Workload) -> Option<PodDisruptionBudget> {
    (workload.max_brokers() > 1).then(|| PodDisruptionBudget {
        metadata: metadata(workload),
        spec: Some(PodDisruptionBudgetSpec {
            selector: Some(pod_selector(workload)),
            max_unavailable: Some(IntOrString::Int(1)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}
