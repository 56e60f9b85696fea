//! Connections to a port of a pod through the API server, without a local port.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    LIST_LIMIT,
    pods::{broker_port, is_ready, pod_name},
};

/// A port of a broker.
#[derive(Clone)]
pub(crate) enum PodPort {
    /// Of one pod.
    Of { pods: Api<Pod>, pod: String, port: u16 },
    /// Of any pod that is ready: brokers come and go, and all of them serve a channel alike.
    OfAnyReady { pods: Api<Pod>, selector: String, name: &'static str },
}

impl fmt::Debug for PodPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of { pod, port, .. } => write!(f, "{pod}:{port}"),
            Self::OfAnyReady { selector, name, .. } => write!(f, "{selector}:{name}"),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortForwardError {
    #[error("the brokers cannot be listed: {0}")]
    NoList(Box<kube::Error>),
    #[error("no broker is ready")]
    NoneReady,
    #[error(
        "the API server does not forward to the pod: {0}. It needs the permission to create pods/portforward"
    )]
    Refused(Box<kube::Error>),
    #[error("the API server has forwarded another port")]
    NoStream,
}

impl PodPort {
    /// # Errors
    /// There is no connection.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn open(
        &self,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, PortForwardError> {
        let (pods, pod, port) = match self {
            Self::Of { pods, pod, port } => (pods, pod.clone(), *port),
            Self::OfAnyReady { pods, selector, name } => {
                let (pod, port) = choose(pods, selector, name).await?;
                (pods, pod, port)
            }
        };
        let forwarded = pods.portforward(&pod, &[port]).await;
        let mut forwarder =
            forwarded.map_err(|error| PortForwardError::Refused(Box::new(error)))?;
        // The forwarding ends with the stream.
        forwarder.take_stream(port).ok_or(PortForwardError::NoStream)
    }
}

/// A random pod that is ready, and its port.
async fn choose(
    pods: &Api<Pod>,
    selector: &str,
    name: &str,
) -> Result<(String, u16), PortForwardError> {
    let params = ListParams::default().labels(selector).limit(LIST_LIMIT);
    let listed = pods.list(&params).await;
    let listed = listed.map_err(|error| PortForwardError::NoList(Box::new(error)))?;
    let ready = listed.items.iter().filter(|pod| is_ready(pod));
    let ports = ready.filter_map(|pod| Some((pod_name(pod), broker_port(pod, name)?)));
    let ports: Vec<_> = ports.collect();
    let chosen = fastrand::choice(&ports).ok_or(PortForwardError::NoneReady)?;
    Ok((chosen.0.to_owned(), chosen.1))
}
