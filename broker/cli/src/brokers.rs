//! What brokers say of themselves on their admin ports, asked through the API server.

use std::time::Duration;

use bytes::Bytes;
use eventcast_crds::broker_status::{self, BrokerStatus};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::timeout;

use crate::{
    client::{Client, Connector, Request},
    credential::Credential,
    kubernetes::{self, Cluster},
    metrics::Metrics,
};

/// How long one broker may take to answer both questions.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);
/// Brokers that are asked at a time.
const CONCURRENT: usize = 8;
/// Brokers that are asked in all.
pub(crate) const MAX_BROKERS: usize = 100;
/// Path of the metrics on the admin port.
const METRICS_PATH: &str = "/metrics";

/// A broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) pod: String,
    /// Why its pod is not ready. Empty if it is.
    pub(crate) trouble: String,
    /// `None` if it was not asked, because its pod does not run.
    pub(crate) answer: Option<Result<Answer, String>>,
}

/// What a broker has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) state: BrokerStatus,
    pub(crate) metrics: Metrics,
}

/// Asks the brokers of `pods`, in their order.
pub(crate) async fn ask(cluster: &Cluster, pods: &[Pod]) -> Vec<Broker> {
    let asked = pods.iter().take(MAX_BROKERS).map(|pod| async {
        let answer = match running(pod) {
            false => None,
            true => Some(match timeout(BROKER_TIMEOUT, answer(cluster, pod)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {BROKER_TIMEOUT:?}")),
            }),
        };
        Broker {
            pod: kubernetes::pod_name(pod).to_owned(),
            trouble: kubernetes::trouble(pod),
            answer,
        }
    });
    stream::iter(asked).buffered(CONCURRENT).collect().await
}

fn running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running")
}

async fn answer(cluster: &Cluster, pod: &Pod) -> Result<Answer, String> {
    let port = kubernetes::broker_port(pod, "admin").ok_or("the pod has no admin port")?;
    let connector =
        Connector::to_pod(cluster.port(pod, port), None, None).map_err(|_| "no connection")?;
    let client = Client::new(connector, "localhost".into(), Credential::default());
    let state = get(&client, broker_status::PATH).await?;
    let state = serde_json::from_slice(&state).map_err(|error| format!("no status: {error}"))?;
    let metrics = get(&client, METRICS_PATH).await?;
    Ok(Answer { state, metrics: Metrics::parse(&String::from_utf8_lossy(&metrics)) })
}

async fn get(client: &Client, path: &str) -> Result<Bytes, String> {
    let (target, headers) = (path.to_owned(), HeaderMap::new());
    let request = Request { method: Method::GET, target, headers, body: Bytes::new() };
    let response = client.send(request).await.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("{path}: status {}", response.status().as_u16()));
    }
    client.read(response.into_body()).await.map_err(|error| error.to_string())
}
