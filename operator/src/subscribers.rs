//! Counts the subscribers of each channel for `status.subscribers`: asks every broker for its status once a minute, and writes the
//! sum if it changed.
//!
//! If one broker of a channel does not answer, the sum is unknown and the last one stays. So it is during a rolling upgrade from a
//! broker that has no status endpoint yet: the number stands still until all brokers of the channel are upgraded.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use eventcast_crds::broker_status::{self, BrokerStatus};
use eventcast_runtime::Chain;
use futures_util::{StreamExt, stream};
use http::StatusCode;
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
/// Longer answers are ignored. A broker of one channel answers with about 150 bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

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
    let requests = stream::iter(brokers).map(|(channel, url)| async move {
        let count = request_count(http, &url, &format!("{}/{}", channel.0, channel.1)).await;
        (channel, count)
    });
    let answers: Vec<_> = requests.buffer_unordered(MAX_CONCURRENT_REQUESTS).collect().await;
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

/// The channel of a running broker (namespace and name), and the URL of its status.
fn endpoint(pod: &Pod) -> Option<((String, String), String)> {
    let status = pod.status.as_ref()?;
    let address = status.pod_ip.as_ref().filter(|_| status.phase.as_deref() == Some("Running"))?;
    let containers = &pod.spec.as_ref()?.containers;
    let broker = containers.iter().find(|c| c.name == BROKER_CONTAINER)?;
    let ports = broker.ports.iter().flatten();
    let port = ports.into_iter().find(|p| p.name.as_deref() == Some("admin"))?.container_port;
    let address = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let channel = pod.labels().get(CHANNEL_LABEL)?.clone();
    Some(((pod.namespace()?, channel), format!("http://{address}:{port}{}", broker_status::PATH)))
}

/// Open streams of `channel` in the broker at `url`. `None` if the broker does not answer, has no status endpoint, or does not serve the
/// channel.
async fn request_count(http: &Http, url: &str, channel: &str) -> Option<i64> {
    let status = timeout(BROKER_TIMEOUT, request_status(http, url)).await.ok()??;
    i64::try_from(status.channel(channel)?.subscribers).ok()
}

async fn request_status(http: &Http, url: &str) -> Option<BrokerStatus> {
    let response = http.get(url.parse().ok()?).await.ok()?;
    if response.status() != StatusCode::OK {
        tracing::debug!(url, status = %response.status(), "the broker does not report its status");
        return None;
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.ok()?;
    serde_json::from_slice(&body.to_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Asks a broker that answers with `status` and `body`.
    async fn asked(status: &str, body: &str) -> Option<i64> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{}", listener.local_addr().unwrap(), broker_status::PATH);
        let length = body.len();
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = socket.read(&mut request).await.unwrap();
            let line = format!("GET {} HTTP/1.1\r\n", broker_status::PATH);
            assert!(request[..length].starts_with(line.as_bytes()));
            socket.write_all(response.as_bytes()).await.unwrap();
        };
        let http: Http = HttpClient::builder(TokioExecutor::new()).build(HttpConnector::new());
        tokio::join!(request_count(&http, &url, "ns/demo"), serve).0
    }

    #[tokio::test]
    async fn only_a_report_about_the_channel_gives_a_number() {
        let report = |channel: &str| {
            format!(
                r#"{{"version":"1.0.0","channels":[{{"channel":"{channel}","subscribers":3,"catchingUp":0,"live":true}}]}}"#
            )
        };
        assert_eq!(asked("200 OK", &report("ns/demo")).await, Some(3));
        assert_eq!(asked("200 OK", &report("ns/other")).await, None);
        assert_eq!(asked("404 Not Found", "/livez, /readyz and /metrics are here\n").await, None);
        assert_eq!(asked("503 Service Unavailable", &report("ns/demo")).await, None);
        assert_eq!(asked("200 OK", "no JSON").await, None);
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
        let expected = (
            ("ns".to_owned(), "demo".to_owned()),
            format!("http://10.0.0.1:9090{}", broker_status::PATH),
        );
        assert_eq!(endpoint(&pod("Running")), Some(expected));
        assert_eq!(endpoint(&pod("Pending")), None);
    }
}
