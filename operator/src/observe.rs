//! Derives the conditions `Available`, `Exposed` and `AccessReady` from the objects and the reports of a channel. Pure: cached objects in,
//! conditions out.

pub mod access;
pub mod address;
pub mod delivery;
pub mod pool;
pub mod scaling;

use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus},
    core::v1::{Pod, Service},
};
use kube::core::DynamicObject;
use serde_json::Value;

use crate::{
    broker_reports::CutOff,
    rollouts::Failure,
    settings::{OptionalApis, Settings},
    status::{Brokers, ConditionState, reasons},
    workload::Workload,
};

use address::wildcard_hosts;

/// The numbers of brokers and the condition `Available`, from the Deployment and its pods, and from which of them are cut off.
#[must_use]
pub fn brokers<'a>(
    workload: &Workload,
    settings: &Settings,
    deployment: Option<&Deployment>,
    pods: impl Iterator<Item = &'a Pod>,
    cut_off: CutOff,
) -> (Brokers, ConditionState) {
    let (spec, status) = deployment.map_or_else(Default::default, |d| {
        (d.spec.clone().unwrap_or_default(), d.status.clone().unwrap_or_default())
    });
    let DeploymentSpec { replicas: desired, .. } = spec;
    let DeploymentStatus { replicas, ready_replicas, updated_replicas, conditions, .. } = status;
    let selector = workload.owner.key.selector();
    let selector: Vec<_> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let brokers = Brokers {
        desired: desired.unwrap_or(workload.brokers.replicas),
        replicas: replicas.unwrap_or(0),
        ready: ready_replicas.unwrap_or(0),
        selector: selector.join(","),
        image: workload.image(&settings.broker_image).to_owned(),
    };
    // A rollout that is stuck is reported even while the old brokers serve.
    let mut pods = pods;
    let problem = pods
        .find_map(pod_problem)
        .or_else(|| replica_failure(&conditions.unwrap_or_default()))
        .or_else(|| cut_off_problem(cut_off, &settings.nats.servers));
    let available = available(&brokers, updated_replicas.unwrap_or(0), problem);
    (brokers, available)
}

fn available(
    brokers: &Brokers,
    updated: i32,
    problem: Option<(&'static str, String)>,
) -> ConditionState {
    let Brokers { desired, ready, .. } = *brokers;
    let counted = match ready > desired {
        true => format!("{ready} brokers are ready, {desired} will stay"),
        false => format!("{ready} of {desired} brokers are ready"),
    };
    if desired == 0 {
        return ConditionState::failed(
            reasons::SCALED_TO_ZERO,
            "brokers.replicas is 0: raise it to serve the channel",
        );
    }
    match (ready, problem) {
        (0, None) => ConditionState::failed(reasons::WAITING, counted),
        (0, Some((reason, cause))) => ConditionState::failed(reason, format!("{counted}: {cause}")),
        (_, Some((reason, cause))) => {
            ConditionState::met(reason, format!("{counted}, but {cause}"))
        }
        (_, None) if ready < desired || updated < desired => {
            let rolling = format!("{counted}, {updated} of {desired} are up to date");
            ConditionState::met(reasons::SOME_BROKERS_READY, rolling)
        }
        _ => ConditionState::met(reasons::BROKERS_READY, counted),
    }
}

/// Why a Deployment cannot create its pods: a quota, or an admission policy.
fn replica_failure(conditions: &[DeploymentCondition]) -> Option<(&'static str, String)> {
    let failed = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    let cause = failed.message.as_deref()?;
    // Brokers have none on purpose: it would delay events for milliseconds at a time.
    let advice = if cause.contains("must specify limits.cpu") {
        "; brokers have no processor limit: set brokers.resources.limits.cpu, or give the namespace a LimitRange"
    } else {
        ""
    };
    Some((reasons::UNSCHEDULABLE, format!("pods cannot be created: {cause}{advice}")))
}

/// Why brokers that run are of no use, or not seen.
fn cut_off_problem(cut_off: CutOff, servers: &[String]) -> Option<(&'static str, String)> {
    let CutOff { from_operator, from_log } = cut_off;
    if from_log > 0 {
        let servers = servers.join(", ");
        let message = format!(
            "{from_log} cannot read the log in NATS at {servers}, which the operator reaches: a NetworkPolicy may keep brokers from it (kubectl get \
             networkpolicies -A), or NATS refuses their credentials: see the log of a broker"
        );
        return Some((reasons::LOG_UNAVAILABLE, message));
    }
    (from_operator > 0).then(|| {
        let message = format!(
            "{from_operator} do not answer the operator on the admin port: a NetworkPolicy or a mesh may keep the operator from it (kubectl get \
             networkpolicies -A); until then it does not see their subscribers and problems"
        );
        (reasons::BROKERS_SILENT, message)
    })
}

/// Why the broker of a pod does not start, if it is its image or the broker itself.
#[must_use]
pub fn start_failure(pod: &Pod) -> Option<Failure> {
    match pod_problem(pod)?.0 {
        reasons::IMAGE_UNAVAILABLE => Some(Failure::ImagePull),
        reasons::CRASHING => Some(Failure::CrashLoop),
        _ => None,
    }
}

/// Whether a Deployment is replacing its pods, as `kubectl rollout status` judges it.
#[must_use]
pub fn is_rolling(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let DeploymentStatus { observed_generation, replicas, updated_replicas, .. } =
        deployment.status.clone().unwrap_or_default();
    let (updated, all) = (updated_replicas.unwrap_or(0), replicas.unwrap_or(0));
    observed_generation < deployment.metadata.generation
        || all > updated
        || updated < wanted.min(all)
}

/// Whether there is no node for a pod.
#[must_use]
pub fn is_unschedulable(pod: &Pod) -> bool {
    pod_problem(pod).is_some_and(|(reason, _)| reason == reasons::UNSCHEDULABLE)
}

/// Why a pod cannot become ready; `None` if it only needs time.
fn pod_problem(pod: &Pod) -> Option<(&'static str, String)> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        let cause = condition.message.as_deref().unwrap_or_default();
        return Some((reasons::UNSCHEDULABLE, format!("pod {name} cannot be scheduled: {cause}")));
    }
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        Some((
            container,
            waiting.reason.as_deref()?,
            waiting.message.as_deref().unwrap_or_default(),
        ))
    });
    let (container, reason, message) = waiting?;
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull"
        | "ErrImageInspect" => Some((
            reasons::IMAGE_UNAVAILABLE,
            format!(
                "image {} of pod {name} cannot be pulled ({message}): check brokers.image, the registry and the pull secrets",
                container.image
            ),
        )),
        "CrashLoopBackOff"
        | "RunContainerError"
        | "CreateContainerError"
        | "CreateContainerConfigError" => Some((
            reasons::CRASHING,
            format!(
                "pod {name} does not start ({reason}: {message}): see kubectl logs {name} --previous"
            ),
        )),
        _ => None,
    }
}

/// The condition `Exposed`, from the spec and the status of the HTTPRoute.
#[must_use]
pub fn exposed(
    workload: &Workload,
    apis: OptionalApis,
    route: Option<&DynamicObject>,
) -> ConditionState {
    if workload.exposure.gateway.is_some() {
        if !apis.http_routes {
            return ConditionState::failed(
                reasons::NO_GATEWAY_API,
                "this cluster does not serve gateway.networking.k8s.io/v1 HTTPRoute: install the Gateway API, or remove exposure.gateway",
            );
        }
        if let Some(cause) = route.and_then(route_problem) {
            return ConditionState::failed(reasons::ROUTE_NOT_ACCEPTED, cause);
        }
    }
    let exposure = &workload.exposure;
    let ingress = exposure.ingress.as_ref().map(|_| "Ingress");
    let route = exposure.gateway.as_ref().map(|_| "HTTPRoute");
    let kinds: Vec<_> = std::iter::once("Service").chain(ingress).chain(route).collect();
    let mut message = format!("exposed by {}", kinds.join(" and "));
    let hosts = wildcard_hosts(workload);
    if !hosts.is_empty() {
        // status.url holds one host name only.
        let (hosts, path) = (hosts.join(" and "), &workload.path);
        message = format!(
            "{message}; clients use any host name that matches {hosts}, with the path {path}/events"
        );
    }
    ConditionState::met(reasons::EXPOSED, message)
}

/// Why a Gateway does not serve the route.
fn route_problem(route: &DynamicObject) -> Option<String> {
    let parents = route.data.pointer("/status/parents")?.as_array()?;
    parents.iter().find_map(|parent| {
        let conditions = parent["conditions"].as_array()?;
        let failed = conditions.iter().find(|c| {
            (c["type"] == "Accepted" || c["type"] == "ResolvedRefs") && c["status"] == "False"
        })?;
        let gateway = parent.pointer("/parentRef/name").and_then(Value::as_str).unwrap_or_default();
        let cause = failed["message"].as_str().unwrap_or_default();
        Some(format!("Gateway {gateway} rejected the HTTPRoute: {cause}"))
    })
}

/// Host name or address of the Service's load balancer, if it has one.
#[must_use]
pub fn load_balancer(service: &Service) -> Option<String> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
    ingress.hostname.clone().or_else(|| ingress.ip.clone())
}

#[cfg(test)]
mod tests;
