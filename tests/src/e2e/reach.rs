//! The way from the suite to a Service: its cluster address where this machine has a route to it, as on a node; else
//! `kubectl port-forward`, started again whenever its pod goes.

use std::{io, net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{net::TcpStream, process::Command, task::JoinHandle, time::sleep};

use super::Cluster;
use crate::{eventually, ports};

/// How long the Service's address may take before it counts as out of reach: a node learns of a new pod with some delay.
const KNOCK: Duration = Duration::from_secs(5);
/// How long a forwarded port may take.
const FORWARD: Duration = Duration::from_secs(20);
/// Before kubectl is started again: it ends at once while there is no pod.
const AGAIN: Duration = Duration::from_millis(200);

/// An address that leads to a Service for as long as this is kept.
#[derive(Debug)]
pub struct Reach {
    address: SocketAddr,
    forwarding: Option<JoinHandle<()>>,
}

impl Reach {
    /// The way to port 80 of a Service that has a pod.
    ///
    /// # Errors
    /// When there is none.
    pub async fn to(cluster: &Cluster, namespace: &str, service: &str) -> Result<Self> {
        let object = cluster.get(namespace, &format!("service/{service}")).await?;
        let own = object["spec"]["clusterIP"].as_str().and_then(|text| text.parse().ok());
        let own = SocketAddr::new(own.context("a Service without an address")?, 80);
        if eventually("the Service answers", KNOCK, || answers(own)).await.is_ok() {
            return Ok(Self { address: own, forwarding: None });
        }
        let port = ports::reserve(1)?[0];
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = Command::new(&cluster.kubectl);
        command.args(["-n", namespace, "port-forward"]);
        command.args([format!("service/{service}"), format!("{port}:80")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let forwarding = Some(tokio::spawn(forward(command)));
        let reach = Self { address, forwarding };
        eventually("the forwarded port answers", FORWARD, || answers(address)).await?;
        Ok(reach)
    }

    /// URL of the events of a channel, with this query.
    #[must_use]
    pub fn events(&self, namespace: &str, channel: &str, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        format!("http://{}/channels/{namespace}/{channel}/events{mark}{query}", self.address)
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        if let Some(forwarding) = &self.forwarding {
            forwarding.abort(); // kubectl goes with it
        }
    }
}

async fn answers(address: SocketAddr) -> io::Result<()> {
    TcpStream::connect(address).await.map(drop)
}

async fn forward(mut command: Command) {
    loop {
        if let Ok(mut child) = command.spawn() {
            drop(child.wait().await); // however it ended: again
        }
        sleep(AGAIN).await;
    }
}
