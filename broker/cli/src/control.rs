//! The control port of a broker or operator, through the API server or at a URL.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    client::{Client, ClientError, Connector, Request},
    credential::Credential,
    failure::Failure,
    kubernetes::{self, Cluster},
};

/// How long one program may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Programs that are asked at a time.
const CONCURRENT: usize = 8;

/// Why a control port has not done what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error(
        "{0}. It listens on its control port, 9091 on the loopback address, unless controlPort of its configuration says otherwise, and since version 0.1.0"
    )]
    Unreachable(#[from] ClientError),
    #[error("no answer within {ANSWER_TIMEOUT:?}")]
    Timeout,
    #[error("{1}")]
    Refused(StatusCode, String),
    #[error("the answer cannot be read: {0}. Is this program older?")]
    Unreadable(#[from] serde_json::Error),
}

/// What a refusal says.
#[derive(Deserialize)]
struct Why {
    error: String,
}

/// The control port of one program.
#[derive(Clone, Debug)]
pub(crate) struct ControlPort {
    /// The name of its pod, or the host of its URL.
    pub(crate) name: String,
    client: Client,
}

impl ControlPort {
    /// # Errors
    /// It is no URL of a control port.
    pub(crate) fn at(url: &str) -> Result<Self, Failure> {
        let wrong =
            || Failure::usage(format!("--control-url {url}: write it as http://localhost:9091"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().map(ToString::to_string).ok_or_else(wrong)?;
        if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let connector = Connector::new(&uri, None)?;
        let client = Client::new(connector, authority.clone(), Credential::default());
        Ok(Self { name: authority, client })
    }

    /// # Errors
    /// There is no way to it.
    pub(crate) fn of_pod(cluster: &Cluster, pod: &Pod, port: u16) -> Result<Self, Failure> {
        let connector = Connector::to_pod(cluster.port(pod, port), None, None)?;
        let client = Client::new(connector, "localhost".into(), Credential::default());
        Ok(Self { name: kubernetes::pod_name(pod).to_owned(), client })
    }

    /// Sends a request, with a body in JSON if there is one.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<T, ControlError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = Request { method, target: target.to_owned(), headers, body };
        let answer = timeout(ANSWER_TIMEOUT, async {
            let response = self.client.send(request).await?;
            let status = response.status();
            Ok::<_, ClientError>((status, self.client.read(response.into_body()).await?))
        });
        let (status, body) = answer.await.map_err(|_| ControlError::Timeout)??;
        if status.is_success() {
            return Ok(serde_json::from_slice(&body)?);
        }
        let why = serde_json::from_slice::<Why>(&body).map(|why| why.error);
        Err(ControlError::Refused(status, why.unwrap_or_else(|_| format!("status {status}"))))
    }
}

/// Asks all of `ports` the same, and returns the answers in their order.
pub(crate) async fn ask_all<T: DeserializeOwned>(
    ports: &[ControlPort],
    method: &Method,
    target: &str,
    body: Option<&Value>,
) -> Vec<(String, Result<T, ControlError>)> {
    let asked = ports
        .iter()
        .map(|port| async { (port.name.clone(), port.ask(method.clone(), target, body).await) });
    stream::iter(asked).buffered(CONCURRENT).collect().await
}
