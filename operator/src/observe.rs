//! What the brokers' objects say about how they do. Pure: cached objects in, verdicts out.

use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use serde_json::Value;

use crate::{
    build::{deployment::image, exposure::wildcards},
    channel::Channel,
    names,
    settings::{Apis, Settings},
    status::{Brokers, Verdict, reasons},
};

/// The brokers, from their Deployment and their pods.
#[must_use]
pub fn brokers<'a>(
    channel: &Channel,
    settings: &Settings,
    deployment: Option<&DynamicObject>,
    pods: impl Iterator<Item = &'a Pod>,
) -> (Brokers, Verdict) {
    let at = |path: &str| deployment.and_then(|d| d.data.pointer(path));
    let number = |path: &str| {
        let value = at(path).and_then(Value::as_i64).unwrap_or(0);
        i32::try_from(value).unwrap_or(i32::MAX)
    };
    let desired = match at("/spec/replicas") {
        Some(_) => number("/spec/replicas"),
        None => channel.spec.brokers.replicas,
    };
    let selector = names::selector(&channel.name);
    let selector: Vec<_> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let brokers = Brokers {
        desired,
        replicas: number("/status/replicas"),
        ready: number("/status/readyReplicas"),
        selector: selector.join(","),
        image: image(channel, &settings.broker_image).to_owned(),
    };
    let updated = number("/status/updatedReplicas");
    let verdict = verdict(&brokers, updated, refusal(at("/status/conditions")), pods);
    (brokers, verdict)
}

fn verdict<'a>(
    brokers: &Brokers,
    updated: i32,
    refusal: Option<String>,
    pods: impl Iterator<Item = &'a Pod>,
) -> Verdict {
    let Brokers { desired, ready, .. } = *brokers;
    let counted = format!("{ready} of {desired} brokers are ready");
    if desired == 0 {
        return Verdict::bad(
            reasons::SCALED_TO_ZERO,
            "no broker is wanted: raise brokers.replicas to serve the channel",
        );
    }
    // A roll that cannot go on matters even while the old brokers serve.
    let trouble =
        pods.filter_map(trouble).next().or(refusal.map(|why| (reasons::UNSCHEDULABLE, why)));
    match (ready, trouble) {
        (0, None) => Verdict::bad(reasons::WAITING, counted),
        (0, Some((reason, why))) => Verdict::bad(reason, format!("{counted}: {why}")),
        (_, Some((reason, why))) => Verdict::good(reason, format!("{counted}, but {why}")),
        (_, None) if ready < desired || updated < desired => {
            let rolling = format!("{counted}, {updated} of them as they should be now");
            Verdict::good(reasons::SOME_BROKERS_READY, rolling)
        }
        _ => Verdict::good(reasons::BROKERS_READY, counted),
    }
}

/// Why a Deployment cannot make its pods: a quota, an admission policy.
fn refusal(conditions: Option<&Value>) -> Option<String> {
    let conditions = conditions?.as_array()?;
    let of = |c: &&Value| c["type"] == "ReplicaFailure" && c["status"] == "True";
    conditions.iter().find(of)?["message"].as_str().map(|why| format!("pods cannot be made: {why}"))
}

/// What keeps a pod from being ready, if that is more than time.
fn trouble(pod: &Pod) -> Option<(&'static str, String)> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let unplaced = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unplaced {
        let why = condition.message.as_deref().unwrap_or_default();
        return Some((reasons::UNSCHEDULABLE, format!("the pod {name} finds no node: {why}")));
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
                "the image {} of the pod {name} cannot be had ({message}): correct brokers.image, or pushes and pull secrets",
                container.image
            ),
        )),
        "CrashLoopBackOff"
        | "RunContainerError"
        | "CreateContainerError"
        | "CreateContainerConfigError" => Some((
            reasons::CRASHING,
            format!(
                "the pod {name} does not start ({reason}: {message}); kubectl logs {name} --previous says why"
            ),
        )),
        _ => None,
    }
}

/// The way in, from the objects that make it.
#[must_use]
pub fn exposed(channel: &Channel, apis: Apis, route: Option<&DynamicObject>) -> Verdict {
    if channel.spec.exposure.gateway.is_some() {
        if !apis.routes {
            return Verdict::bad(
                reasons::NO_GATEWAY_API,
                "this cluster has no gateway.networking.k8s.io/v1 HTTPRoute: install the Gateway API, or remove exposure.gateway",
            );
        }
        if let Some(why) = route.and_then(not_accepted) {
            return Verdict::bad(reasons::ROUTE_NOT_ACCEPTED, why);
        }
    }
    let exposure = &channel.spec.exposure;
    let ways =
        [("an Ingress", exposure.ingress.is_some()), ("an HTTPRoute", exposure.gateway.is_some())];
    let ways = ways.into_iter().filter(|(_, asked)| *asked).map(|(way, _)| way);
    let ways: Vec<_> = std::iter::once("a Service").chain(ways).collect();
    let mut message = format!("there is {}", ways.join(" and "));
    let hosts = wildcards(channel);
    if !hosts.is_empty() {
        // status.url cannot say it
        let (hosts, path) = (hosts.join(" and "), channel.path());
        message = format!(
            "{message}; clients take any host name of {hosts}, with the path {path}/events"
        );
    }
    Verdict::good(reasons::EXPOSED, message)
}

fn not_accepted(route: &DynamicObject) -> Option<String> {
    let parents = route.data.pointer("/status/parents")?.as_array()?;
    parents.iter().find_map(|parent| {
        let conditions = parent["conditions"].as_array()?;
        let refused = conditions.iter().find(|c| {
            (c["type"] == "Accepted" || c["type"] == "ResolvedRefs") && c["status"] == "False"
        })?;
        let gateway = parent.pointer("/parentRef/name").and_then(Value::as_str).unwrap_or_default();
        let why = refused["message"].as_str().unwrap_or_default();
        Some(format!("the Gateway {gateway} does not take the route: {why}"))
    })
}

/// The address that a load balancer gave the Service.
#[must_use]
pub fn balancer(service: &DynamicObject) -> Option<String> {
    let first = service.data.pointer("/status/loadBalancer/ingress/0")?;
    let text = |key: &str| first[key].as_str().map(str::to_owned);
    text("hostname").or_else(|| text("ip"))
}

#[cfg(test)]
mod tests;
