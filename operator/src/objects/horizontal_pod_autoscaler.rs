//! Chooses the number of brokers by CPU or subscribers.

use eventcast_crds::channel::brokers::{Autoscaler, Autoscaling};
use k8s_openapi::{
    api::autoscaling::v2::{
        ContainerResourceMetricSource, CrossVersionObjectReference, HPAScalingPolicy,
        HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
        HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricTarget, PodsMetricSource,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use super::metadata;
use crate::{names, workload::Workload};

/// `None` unless the channel asks for one by `brokers.autoscaling.by`.
pub(super) fn build(workload: &Workload) -> Option<HorizontalPodAutoscaler> {
    let autoscaling = workload.brokers.autoscaling.as_ref()?;
    if autoscaling.by != Autoscaler::HorizontalPodAutoscaler {
        return None;
    }
    let metrics = autoscaling
        .cpu_percent
        .map(cpu_metric)
        .into_iter()
        .chain(autoscaling.subscribers_per_broker.map(subscribers_metric));
    Some(HorizontalPodAutoscaler {
        metadata: metadata(workload),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".into()),
                kind: "Deployment".into(),
                name: workload.object_name(),
            },
            min_replicas: Some(autoscaling.min_replicas),
            max_replicas: autoscaling.max_replicas,
            metrics: Some(metrics.collect()),
            behavior: Some(behavior(autoscaling)),
        }),
        ..HorizontalPodAutoscaler::default()
    })
}

/// Mean CPU utilisation of the broker's container alone. A sidecar without a CPU request would make the utilisation of the pod
/// undefined.
fn cpu_metric(percent: i32) -> MetricSpec {
    MetricSpec {
        type_: "ContainerResource".into(),
        container_resource: Some(ContainerResourceMetricSource {
            name: "cpu".into(),
            container: names::BROKER_CONTAINER.into(),
            target: MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(percent),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

fn subscribers_metric(count: i32) -> MetricSpec {
    MetricSpec {
        type_: "Pods".into(),
        pods: Some(PodsMetricSource {
            metric: MetricIdentifier {
                name: "eventcast_subscribers".into(),
                ..MetricIdentifier::default()
            },
            target: MetricTarget {
                type_: "AverageValue".into(),
                average_value: Some(Quantity(count.to_string())),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

/// Doubles within 30 s, for new subscribers. Removes one broker in 120 s, after a time of low load, because each removal makes
/// subscribers reconnect.
fn behavior(autoscaling: &Autoscaling) -> HorizontalPodAutoscalerBehavior {
    let stabilization_seconds = i32::try_from(autoscaling.scale_down_stabilization_seconds).ok();
    let policy = |type_: &str, value, period_seconds| {
        Some(vec![HPAScalingPolicy { type_: type_.into(), value, period_seconds }])
    };
    HorizontalPodAutoscalerBehavior {
        scale_up: Some(HPAScalingRules {
            policies: policy("Percent", 100, 30),
            ..HPAScalingRules::default()
        }),
        scale_down: Some(HPAScalingRules {
            stabilization_window_seconds: stabilization_seconds,
            policies: policy("Pods", 1, 120),
            ..HPAScalingRules::default()
        }),
    }
}
