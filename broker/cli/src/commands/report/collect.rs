//! What goes into a report, from the API server and the brokers.

use futures_util::future::join_all;
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::{
    brokers::AdminPort,
    control::ControlPort,
    failure::Failure,
    kubernetes::{self, Cluster},
    report::Report,
    target::ChannelName,
};

/// Pods whose logs and metrics are read.
const MAX_PODS: usize = 20;
/// Objects that brokers consist of: their paths below a namespace.
const OBJECTS: [(&str, &str); 10] = [
    ("deployments", "/apis/apps/v1"),
    ("replicasets", "/apis/apps/v1"),
    ("pods", "/api/v1"),
    ("services", "/api/v1"),
    ("configmaps", "/api/v1"),
    ("networkpolicies", "/apis/networking.k8s.io/v1"),
    ("ingresses", "/apis/networking.k8s.io/v1"),
    ("poddisruptionbudgets", "/apis/policy/v1"),
    ("horizontalpodautoscalers", "/apis/autoscaling/v2"),
    ("httproutes", "/apis/gateway.networking.k8s.io/v1"),
];
const EVENTCAST: &str = "/apis/eventcast.dev/v1alpha1";

/// A channel, its brokers, and the operators.
///
/// # Errors
/// There is no such channel.
pub(super) async fn channel(
    cluster: &Cluster,
    name: &ChannelName,
    report: &mut Report,
) -> Result<(), Failure> {
    let channel = cluster.channel(name).await?;
    let ChannelName { namespace, name } = name;
    version(cluster, report).await;
    let path = format!("{EVENTCAST}/namespaces/{namespace}/eventchannels/{name}");
    report.add_result("channel.yaml", cluster.document(&path).await);
    events(cluster, namespace, Some(name), report).await;
    let status = channel.status.clone().unwrap_or_default();
    let mut brokers_in = namespace.clone();
    if let Some(pool) = &status.pool {
        brokers_in = pool.namespace.clone().unwrap_or(brokers_in);
        let path = format!("{EVENTCAST}/namespaces/{brokers_in}/brokerpools/{}", pool.name);
        report.add_result("pool.yaml", cluster.document(&path).await);
    }
    if let Some(selector) = &status.selector {
        objects(cluster, &brokers_in, selector, report).await;
    } else {
        report.missing.push("brokers: the channel has none yet".into());
    }
    let pods = cluster.brokers(&channel).await;
    pods_of(cluster, "brokers", pods, report).await;
    operators(cluster, report).await;
    Ok(())
}

/// The operators, and the channels and pools of a namespace.
pub(super) async fn namespace(cluster: &Cluster, namespace: &str, report: &mut Report) {
    version(cluster, report).await;
    for kind in ["eventchannels", "brokerpools"] {
        let path = format!("{EVENTCAST}/namespaces/{namespace}/{kind}?limit=500");
        report.add_result(&format!("{kind}.yaml"), cluster.document(&path).await);
    }
    events(cluster, namespace, None, report).await;
    operators(cluster, report).await;
}

/// One broker, by its admin port.
///
/// # Errors
/// It is no URL.
pub(super) async fn broker_at(url: &str, report: &mut Report) -> Result<(), Failure> {
    let admin = AdminPort::at(url)?;
    admin_port(&admin, "broker", report).await;
    Ok(())
}

async fn version(cluster: &Cluster, report: &mut Report) {
    report.add_result("kubernetes.yaml", cluster.document("/version").await);
}

async fn events(cluster: &Cluster, namespace: &str, channel: Option<&str>, report: &mut Report) {
    let of = match channel {
        Some(name) => format!("involvedObject.kind=EventChannel,involvedObject.name={name}"),
        None => "involvedObject.kind=EventChannel".to_owned(),
    };
    let of: String = form_urlencoded::byte_serialize(of.as_bytes()).collect();
    let path = format!("/api/v1/namespaces/{namespace}/events?limit=500&fieldSelector={of}");
    report.add_result("events.yaml", cluster.document(&path).await);
}

/// The objects of the brokers, without Secrets.
async fn objects(cluster: &Cluster, namespace: &str, selector: &str, report: &mut Report) {
    let selector: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
    let read = OBJECTS.map(|(kind, api)| {
        let path =
            format!("{api}/namespaces/{namespace}/{kind}?limit=500&labelSelector={selector}");
        async move { (kind, cluster.document(&path).await) }
    });
    for (kind, list) in join_all(read).await {
        let is_missing = list.as_ref().is_err_and(|error| error.code() == Some(404));
        let is_empty =
            list.as_ref().is_ok_and(|list| list["items"].as_array().is_some_and(Vec::is_empty));
        // An API that the cluster does not serve, or objects that are not wanted.
        if !is_missing && !is_empty {
            report.add_result(&format!("objects/{kind}.yaml"), list);
        }
    }
}

async fn operators(cluster: &Cluster, report: &mut Report) {
    let pods = cluster.operators(None).await;
    pods_of(cluster, "operators", pods, report).await;
}

/// Logs, metrics and state of pods.
async fn pods_of(
    cluster: &Cluster,
    what: &str,
    pods: Result<Vec<Pod>, kubernetes::ApiError>,
    report: &mut Report,
) {
    let pods = match pods {
        Ok(pods) => pods,
        Err(error) => return report.missing.push(format!("{what}: {error}")),
    };
    if pods.len() > MAX_PODS {
        report.missing.push(format!("{what}: only {MAX_PODS} of {} pods are in it", pods.len()));
    }
    for pod in pods.iter().take(MAX_PODS) {
        let folder = format!("{what}/{}", kubernetes::pod_name(pod));
        for (previous, file) in [(false, "log.txt"), (true, "previous-log.txt")] {
            if previous && !kubernetes::was_restarted(pod) {
                continue;
            }
            match cluster.log(pod, previous).await {
                Ok(log) => report.add_text(&format!("{folder}/{file}"), &log),
                Err(error) => report.missing.push(format!("{folder}/{file}: {error}")),
            }
        }
        if !kubernetes::is_running(pod) {
            let trouble = kubernetes::trouble(pod);
            report.missing.push(format!("{folder}: the pod does not run ({trouble})"));
            continue;
        }
        match AdminPort::of_pod(cluster, pod) {
            Ok(admin) => admin_port(&admin, &folder, report).await,
            Err(error) => report.missing.push(format!("{folder}: {error}")),
        }
        let port = eventcast_crds::config::DEFAULT_CONTROL_PORT;
        if let Ok(control) = ControlPort::of_pod(cluster, pod, port) {
            let level = control.ask::<Value>(Method::GET, "/log-level", None).await;
            report.add_result(&format!("{folder}/log-level.yaml"), level);
        }
    }
}

async fn admin_port(admin: &AdminPort, folder: &str, report: &mut Report) {
    match admin.get("/metrics").await {
        Ok(text) => {
            report.add_text(&format!("{folder}/metrics.txt"), &String::from_utf8_lossy(&text))
        }
        Err(error) => report.missing.push(format!("{folder}/metrics.txt: {error}")),
    }
    // Only brokers have it.
    if let Ok(state) = admin.get(eventcast_crds::broker_status::PATH).await {
        let state = serde_json::from_slice::<Value>(&state);
        report.add_result(&format!("{folder}/state.yaml"), state);
    }
    let ready = match admin.get("/readyz").await {
        Ok(_) => json!({"ready": true}),
        Err(why) => json!({"ready": false, "why": why}),
    };
    report.add_value(&format!("{folder}/ready.yaml"), ready);
}
