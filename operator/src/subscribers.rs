//! How many subscribers a channel has: once a minute the brokers are asked, and the number is written where it is another one.
//!
//! By a field manager of its own, which has this one field of the status.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use eventcast_runtime::Chain;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    leader::Fence,
    metrics::Metrics,
    names::{CHANNEL_LABEL, CONTAINER, SUBSCRIBERS_MANAGER},
    reconcile::status_patch,
    scope::Scope,
};

/// How often. Each change of a status wakes whoever watches channels.
const EVERY: Duration = Duration::from_secs(60);
/// The first look comes sooner: people look at a new channel.
const FIRST: Duration = Duration::from_secs(10);
/// How long one broker may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Brokers asked at once.
const AT_ONCE: usize = 16;
/// Of the answer; a broker of one channel says about 20 KB.
const LARGEST: usize = 4 << 20;

type Http = HttpClient<HttpConnector, Empty<Bytes>>;

/// Counts for as long as it is polled.
pub async fn follow(fence: &Fence, metrics: &Metrics, scopes: &[Arc<Scope>]) {
    let http: Http = HttpClient::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(HttpConnector::new());
    sleep(FIRST).await;
    loop {
        for scope in scopes {
            count(&http, fence, metrics, scope).await;
        }
        sleep(EVERY).await;
    }
}

async fn count(http: &Http, fence: &Fence, metrics: &Metrics, scope: &Scope) {
    let targets: Vec<_> = scope.pods.state().iter().filter_map(|pod| target(pod)).collect();
    let asked =
        stream::iter(targets).map(|(channel, url)| async move { (channel, ask(http, &url).await) });
    let answers: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    // A broker that does not answer makes the sum unknown: the last one stays.
    let mut sums: BTreeMap<(String, String), Option<i64>> = BTreeMap::new();
    for (channel, answer) in answers {
        let sum = sums.entry(channel).or_insert(Some(0));
        *sum = sum.zip(answer).map(|(a, b)| a + b);
    }
    for raw in scope.channels.state() {
        let key = (raw.namespace().unwrap_or_default(), raw.name_any());
        let Some(sum) = sums.get(&key).copied().unwrap_or(Some(0)) else { continue };
        let written = raw.data.pointer("/status/subscribers").and_then(serde_json::Value::as_i64);
        // Nobody yet is no news: a thousand new channels are not written once more for it.
        if written.unwrap_or(0) == sum || fence.check().is_err() {
            continue;
        }
        let patch = status_patch(&raw, &json!({"subscribers": sum}));
        let params = PatchParams::apply(SUBSCRIBERS_MANAGER).force();
        match scope.channels_api(&key.0).patch_status(&key.1, &params, &Patch::Apply(&patch)).await
        {
            Ok(_) => metrics.wrote("EventChannel", "subscribers"),
            Err(kube::Error::Api(e)) if e.is_not_found() => {}
            Err(error) => {
                tracing::warn!(channel = key.1, error = %Chain(&error), "cannot write the number of subscribers")
            }
        }
    }
}

/// The channel of a running broker, and where its metrics are.
fn target(pod: &Pod) -> Option<((String, String), String)> {
    let status = pod.status.as_ref()?;
    let address = status.pod_ip.as_ref().filter(|_| status.phase.as_deref() == Some("Running"))?;
    let containers = &pod.spec.as_ref()?.containers;
    let broker = containers.iter().find(|c| c.name == CONTAINER)?;
    let ports = broker.ports.iter().flatten();
    let port = ports.into_iter().find(|p| p.name.as_deref() == Some("admin"))?.container_port;
    let address = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let channel = pod.labels().get(CHANNEL_LABEL)?.clone();
    Some(((pod.namespace()?, channel), format!("http://{address}:{port}/metrics")))
}

async fn ask(http: &Http, url: &str) -> Option<i64> {
    let get = async {
        let response = http.get(url.parse().ok()?).await.ok()?;
        let body = Limited::new(response.into_body(), LARGEST).collect().await.ok()?;
        Some(body.to_bytes())
    };
    let body = timeout(PATIENCE, get).await.ok()??;
    Some(open_streams(std::str::from_utf8(&body).ok()?))
}

/// The sum of the gauge over all channels of a scrape; a broker has one.
fn open_streams(scrape: &str) -> i64 {
    let samples = scrape.lines().filter(|line| line.starts_with("eventcast_subscribers{"));
    let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok());
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_streams_are_summed() {
        let scrape = "# HELP eventcast_subscribers x\neventcast_subscribers{channel=\"a/b\"} 3\n\
                      eventcast_subscribers{channel=\"a/c\"} 4\neventcast_subscribers_catching_up{channel=\"a/b\"} 9\n";
        assert_eq!(open_streams(scrape), 7);
        assert_eq!(open_streams(""), 0);
    }

    #[test]
    fn a_running_broker_is_a_target() {
        let pod = |phase: &str| {
            serde_json::from_value::<Pod>(json!({
                "metadata": {"namespace": "ns", "name": "p", "labels": {CHANNEL_LABEL: "demo"}},
                "spec": {"containers": [{"name": "broker", "ports": [{"name": "admin", "containerPort": 9090}]}]},
                "status": {"phase": phase, "podIP": "10.0.0.1"},
            }))
            .unwrap()
        };
        let expected =
            (("ns".to_owned(), "demo".to_owned()), "http://10.0.0.1:9090/metrics".to_owned());
        assert_eq!(target(&pod("Running")), Some(expected));
        assert_eq!(target(&pod("Pending")), None);
    }
}
