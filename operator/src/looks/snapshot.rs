//! The input of the autopilot for one channel, from the caches and the answers of brokers. Pure.

use std::{sync::Arc, time::Duration};

use eventcast_crds::{
    broker_status::BrokerStatus,
    channel::{AUTOPILOT_ANNOTATION, PAUSED_ANNOTATION, brokers::Autoscaling},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, PodCondition},
};
use kube::{ResourceExt, core::DynamicObject};

use super::{Answers, Watched, pod_key};
use crate::{
    autopilot::{Broker, Count, DeploymentState, Frozen, Scaling, Spec},
    observe,
    scope::is_annotated,
    workload::Workload,
};

/// One look at a channel.
pub(super) struct Snapshot<'a> {
    pub(super) watched: &'a Watched,
    pub(super) answers: &'a Answers,
    pub(super) deployment: Option<Arc<DynamicObject>>,
    pub(super) foreign_autoscaler: Option<String>,
    pub(super) nats_usable: bool,
    pub(super) may_patch_pods: bool,
    /// The number of brokers that was chosen last.
    pub(super) wanted: Option<i32>,
    pub(super) now: Timestamp,
}

impl Snapshot<'_> {
    /// The inputs of the plan.
    pub(super) fn inputs(&self) -> (Spec, DeploymentState, Vec<Broker>) {
        let Watched { workload, raw, pods, .. } = self.watched;
        let deployment = self.deployment.as_ref().and_then(|object| {
            serde_json::from_value::<Deployment>(serde_json::to_value(&**object).ok()?).ok()
        });
        let paused = is_annotated(raw, PAUSED_ANNOTATION, "true");
        let frozen = match (paused, self.nats_usable) {
            (true, _) => Some(Frozen::Paused),
            (false, false) => Some(Frozen::NatsUnreachable),
            (false, true) => None,
        };
        let live = deployment.as_ref().and_then(|d| d.spec.as_ref()?.replicas);
        let state = DeploymentState {
            replicas: match (workload.autoscaling(), self.wanted) {
                (Some(_), Some(wanted)) if self.foreign_autoscaler.is_none() => wanted,
                _ => live.unwrap_or(workload.brokers.replicas),
            },
            rollout: deployment.as_ref().is_some_and(observe::is_rolling),
            frozen,
            foreign_autoscaler: self.foreign_autoscaler.clone(),
            may_patch_pods: self.may_patch_pods,
            observe_only: is_annotated(raw, AUTOPILOT_ANNOTATION, "Observe"),
            unschedulable: pods.iter().any(|pod| observe::is_unschedulable(pod)),
        };
        let request = workload.cpu_request_millis();
        let exists = |pod: &&Arc<Pod>| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            !matches!(phase, Some("Succeeded" | "Failed"))
        };
        let brokers = pods.iter().filter(exists).map(|pod| Broker {
            name: pod.name_any(),
            ready_for: ready_for(pod, self.now),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            count: self
                .answers
                .get(&pod_key(pod))
                .and_then(|status| count(status, workload, request)),
        });
        (spec(workload), state, brokers.collect())
    }
}

fn spec(workload: &Workload) -> Spec {
    let scaling = workload.autoscaling().map(|autoscaling: &Autoscaling| Scaling {
        min: autoscaling.min_replicas,
        max: autoscaling.max_replicas,
        subscribers_per_broker: autoscaling
            .subscribers_per_broker
            .and_then(|streams| u32::try_from(streams).ok()),
        cpu_percent: autoscaling.cpu_percent.and_then(|percent| u32::try_from(percent).ok()),
        stabilization: Duration::from_secs(autoscaling.scale_down_stabilization_seconds.into()),
    });
    Spec {
        scaling,
        balancing: observe::scaling::is_balanced(workload),
        max_streams: u64::try_from(workload.config.limits.subscribers).unwrap_or(u64::MAX),
        generation: workload.owner.generation,
    }
}

/// For how long a pod has been ready.
fn ready_for(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let is_ready = |c: &&PodCondition| c.type_ == "Ready" && c.status == "True";
    let since = conditions.into_iter().find(is_ready)?.last_transition_time.as_ref()?.0;
    Some(Duration::try_from(now.duration_since(since)).unwrap_or_default())
}

/// What a broker says. `None`: it is older than these counts, or does not serve its channel yet.
fn count(status: &BrokerStatus, workload: &Workload, cpu_request_millis: u64) -> Option<Count> {
    let key = &workload.owner.key;
    let (streams, live) = if workload.is_pool() {
        // Of many channels some always attach: the pool is live while it can read any.
        let live = status.channels.is_empty() || status.channels.iter().any(|report| report.live);
        (0, live)
    } else {
        let report = status.channel(&key.to_string())?;
        (report.subscribers, report.live)
    };
    Some(Count {
        streams: status.streams.unwrap_or(streams),
        shed: status.shed?,
        cpu_millis_total: status.cpu_milliseconds,
        cpu_request_millis,
        live,
    })
}
