//! What brokers say of themselves on their admin ports, asked through the API server.

use std::time::Duration;

use bytes::Bytes;
use eventcast_crds::broker_status::{self, BrokerStatus};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Uri};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::timeout;

use crate::{
    client::{Client, Connector, Request},
    credential::Credential,
    failure::Failure,
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
        let answer = match kubernetes::is_running(pod) {
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

/// The admin port of a broker or operator.
pub(crate) struct AdminPort(Client);

impl AdminPort {
    /// # Errors
    /// The pod has none.
    pub(crate) fn of_pod(cluster: &Cluster, pod: &Pod) -> Result<Self, String> {
        let port = kubernetes::broker_port(pod, "admin").ok_or("the pod has no admin port")?;
        let connector =
            Connector::to_pod(cluster.port(pod, port), None, None).map_err(|_| "no connection")?;
        Ok(Self(Client::new(connector, "localhost".into(), Credential::default())))
    }

    /// # Errors
    /// It is no URL of an admin port.
    pub(crate) fn at(url: &str) -> Result<Self, Failure> {
        let wrong =
            || Failure::usage(format!("--admin-url {url}: write it as http://127.0.0.1:9090"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().map(ToString::to_string).ok_or_else(wrong)?;
        if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let connector = Connector::new(&uri, None)?;
        Ok(Self(Client::new(connector, authority, Credential::default())))
    }

    /// # Errors
    /// There is no answer, or it is a refusal, whose text is in the error.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, String> {
        let (target, headers) = (path.to_owned(), HeaderMap::new());
        let request = Request { method: Method::GET, target, headers, body: Bytes::new() };
        let asked = timeout(BROKER_TIMEOUT, async {
            let response = self.0.send(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = self.0.read(response.into_body()).await;
            let body = body.map_err(|error| error.to_string())?;
            if status.is_success() {
                return Ok(body);
            }
            let text = String::from_utf8_lossy(&body);
            Err(format!("{path}: status {}: {}", status.as_u16(), text.trim()))
        });
        asked.await.unwrap_or_else(|_| Err(format!("no answer within {BROKER_TIMEOUT:?}")))
    }
}

async fn answer(cluster: &Cluster, pod: &Pod) -> Result<Answer, String> {
    let admin = AdminPort::of_pod(cluster, pod)?;
    let state = admin.get(broker_status::PATH).await?;
    let state = serde_json::from_slice(&state).map_err(|error| format!("no status: {error}"))?;
    let metrics = admin.get(METRICS_PATH).await?;
    Ok(Answer { state, metrics: Metrics::parse(&String::from_utf8_lossy(&metrics)) })
}
