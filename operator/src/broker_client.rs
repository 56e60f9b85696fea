//! Asks brokers for their status, on the admin ports of their pods.

use std::time::Duration;

use bytes::Bytes;
use eventcast_crds::broker_status::{self, BrokerStatus};
use http::StatusCode;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::timeout;

use crate::names::BROKER_CONTAINER;

/// How long one broker may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(3);
/// Longer answers are ignored. A broker of one channel answers with about 150 bytes, one of 10,000 with 1.2 MB.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Nothing answers: no connection, or no answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// Asks brokers. Connections are not kept.
#[derive(Clone, Debug)]
pub struct BrokerClient(HttpClient<HttpConnector, Empty<Bytes>>);

impl Default for BrokerClient {
    fn default() -> Self {
        let client = HttpClient::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(HttpConnector::new());
        Self(client)
    }
}

impl BrokerClient {
    /// The status of the broker at `url`. `None` if it does not answer within three seconds, or has no status endpoint.
    pub async fn status(&self, url: &str) -> Option<BrokerStatus> {
        self.ask(url).await.ok()?
    }

    /// The status of the broker at `url`. `Ok(None)`: what answers has no status endpoint.
    ///
    /// # Errors
    /// Nothing answers within three seconds.
    pub async fn ask(&self, url: &str) -> Result<Option<BrokerStatus>, NoAnswer> {
        timeout(BROKER_TIMEOUT, self.request(url)).await.unwrap_or(Err(NoAnswer))
    }

    async fn request(&self, url: &str) -> Result<Option<BrokerStatus>, NoAnswer> {
        let Ok(uri) = url.parse() else { return Ok(None) };
        let response = self.0.get(uri).await.map_err(|_| NoAnswer)?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            tracing::debug!(url, %status, "the broker does not report its status");
            return Ok(None);
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        Ok(body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok()))
    }
}

/// Since when the broker of a pod runs. `None` if it does not, or ends.
#[must_use]
pub fn running_since(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    let broker = statuses.into_iter().find(|status| status.name == BROKER_CONTAINER)?;
    let running = broker.state.as_ref()?.running.as_ref()?;
    Some(running.started_at.as_ref()?.0).filter(|_| pod.metadata.deletion_timestamp.is_none())
}

/// The URL of the status of a running broker.
#[must_use]
pub fn status_url(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let address = status.pod_ip.as_ref().filter(|_| status.phase.as_deref() == Some("Running"))?;
    let containers = &pod.spec.as_ref()?.containers;
    let broker = containers.iter().find(|c| c.name == BROKER_CONTAINER)?;
    let ports = broker.ports.iter().flatten();
    let port = ports.into_iter().find(|p| p.name.as_deref() == Some("admin"))?.container_port;
    let address = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    Some(format!("http://{address}:{port}{}", broker_status::PATH))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_running_brokers_are_asked() {
        let pod = |phase: &str, address: &str| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"namespace": "ns", "name": "p"},
                "spec": {"containers": [{"name": "broker", "ports": [{"name": "admin", "containerPort": 9090}]}]},
                "status": {"phase": phase, "podIP": address},
            }))
            .unwrap();
            status_url(&pod)
        };
        assert_eq!(pod("Running", "10.0.0.1").as_deref(), Some("http://10.0.0.1:9090/state"));
        assert_eq!(pod("Running", "fd00::1").as_deref(), Some("http://[fd00::1]:9090/state"));
        assert_eq!(pod("Pending", "10.0.0.1"), None);
    }
}
