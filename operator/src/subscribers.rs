//! Counts the subscribers of each channel for `status.subscribers`: asks every broker once a minute, and writes the sum if it
//! changed.

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
use kube::ResourceExt;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    leader::Fence,
    metrics::Metrics,
    names::{BROKER_CONTAINER, CHANNEL_LABEL, SUBSCRIBERS_MANAGER},
    scope::Scope,
};

/// Interval of the counts. Each change of a status wakes every client that watches channels.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);
/// Delay of the first count. Short, because people look at a new channel.
const FIRST_COUNT_DELAY: Duration = Duration::from_secs(10);
/// How long one broker may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(3);
/// Brokers that are asked at the same time.
const MAX_CONCURRENT_REQUESTS: usize = 16;
/// Longer answers are ignored. A broker of one channel answers with about 20 KB.
const MAX_ANSWER_BYTES: usize = 4 << 20;

type Http = HttpClient<HttpConnector, Empty<Bytes>>;

/// Counts until the future is dropped.
pub async fn run(fence: &Fence, metrics: &Metrics, scopes: &[Arc<Scope>]) {
    let http: Http = HttpClient::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(HttpConnector::new());
    sleep(FIRST_COUNT_DELAY).await;
    loop {
        for scope in scopes {
            count(&http, fence, metrics, scope).await;
        }
        sleep(COUNT_INTERVAL).await;
    }
}

async fn count(http: &Http, fence: &Fence, metrics: &Metrics, scope: &Scope) {
    let brokers: Vec<_> = scope.pods.state().iter().filter_map(|pod| endpoint(pod)).collect();
    let requests = stream::iter(brokers)
        .map(|(channel, url)| async move { (channel, request_count(http, &url).await) });
    let answers: Vec<_> = requests.buffer_unordered(MAX_CONCURRENT_REQUESTS).collect().await;
    // If one broker does not answer, the sum is unknown, and the status keeps the last one.
    let mut sums: BTreeMap<(String, String), Option<i64>> = BTreeMap::new();
    for (channel, answer) in answers {
        let sum = sums.entry(channel).or_insert(Some(0));
        *sum = sum.zip(answer).map(|(a, b)| a + b);
    }
    for raw in scope.channels.state() {
        let key = (raw.namespace().unwrap_or_default(), raw.name_any());
        let Some(sum) = sums.get(&key).copied().unwrap_or(Some(0)) else { continue };
        let written = raw.data.pointer("/status/subscribers").and_then(serde_json::Value::as_i64);
        // No status is written for a new channel without subscribers.
        if written.unwrap_or(0) == sum || fence.check().is_err() {
            continue;
        }
        match scope.apply_status(&raw, SUBSCRIBERS_MANAGER, &json!({"subscribers": sum})).await {
            Ok(true) => metrics.wrote("EventChannel", "subscribers"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(channel = key.1, error = %Chain(&error), "cannot write status.subscribers")
            }
        }
    }
}

/// The channel of a running broker (namespace and name), and the URL of its metrics.
fn endpoint(pod: &Pod) -> Option<((String, String), String)> {
    let status = pod.status.as_ref()?;
    let address = status.pod_ip.as_ref().filter(|_| status.phase.as_deref() == Some("Running"))?;
    let containers = &pod.spec.as_ref()?.containers;
    let broker = containers.iter().find(|c| c.name == BROKER_CONTAINER)?;
    let ports = broker.ports.iter().flatten();
    let port = ports.into_iter().find(|p| p.name.as_deref() == Some("admin"))?.container_port;
    let address = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let channel = pod.labels().get(CHANNEL_LABEL)?.clone();
    Some(((pod.namespace()?, channel), format!("http://{address}:{port}/metrics")))
}

async fn request_count(http: &Http, url: &str) -> Option<i64> {
    let get = async {
        let response = http.get(url.parse().ok()?).await.ok()?;
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.ok()?;
        Some(body.to_bytes())
    };
    let body = timeout(BROKER_TIMEOUT, get).await.ok()??;
    Some(open_streams(std::str::from_utf8(&body).ok()?))
}

/// The sum of the gauge over all channels of a scrape. A broker of the operator has one channel.
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
    fn only_running_brokers_are_asked() {
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
        assert_eq!(endpoint(&pod("Running")), Some(expected));
        assert_eq!(endpoint(&pod("Pending")), None);
    }
}
