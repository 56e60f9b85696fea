//! The way from the suite to the brokers of a channel: their Service's cluster address where this machine has a route to it,
//! as on a node; else `kubectl port-forward`, started again whenever its pod goes.

use std::{
    net::{IpAddr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::{process::Command, task::JoinHandle, time::sleep};

use super::Cluster;
use crate::{eventually, http, ports};

/// Time until the address of a Service counts as unreachable: a node learns of a new pod with some delay.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time until a forwarded port answers.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(20);
/// Before kubectl is started again: it ends at once while there is no pod.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// A URL that leads to a channel for as long as this is kept.
#[derive(Debug)]
pub struct Reach {
    channel: String,
    forwarding: Option<JoinHandle<()>>,
}

impl Reach {
    /// The address of a public channel whose brokers are ready.
    ///
    /// # Errors
    /// When there is none.
    pub async fn to(cluster: &Cluster, namespace: &str, channel: &str) -> Result<Self> {
        let service = format!("service/{channel}-broker");
        let object = cluster.get(namespace, &service).await?;
        let own = object["spec"]["clusterIP"].as_str().and_then(|text| text.parse().ok());
        let own = own.context("a Service without an address")?;
        if let Ok(reach) = Self::at(own, namespace, channel).await {
            return Ok(reach);
        }
        Self::forwarded(cluster, namespace, channel, "http", 80).await
    }

    /// The way through this address of the Service.
    ///
    /// # Errors
    /// When no broker answers there.
    pub async fn at(address: IpAddr, namespace: &str, channel: &str) -> Result<Self> {
        let address = SocketAddr::new(address, 80);
        let channel = format!("http://{address}/channels/{namespace}/{channel}");
        let what = format!("the Service answers at {address}");
        eventually(&what, CONNECT_TIMEOUT, || answers(channel.clone())).await?;
        Ok(Self { channel, forwarding: None })
    }

    /// The TLS port of the Service, which has a certificate for `127.0.0.1` from the authority of the tests.
    ///
    /// # Errors
    /// When nothing answers there.
    pub async fn by_tls(cluster: &Cluster, namespace: &str, channel: &str) -> Result<Self> {
        Self::forwarded(cluster, namespace, channel, "https", 443).await
    }

    async fn forwarded(
        cluster: &Cluster,
        namespace: &str,
        channel: &str,
        scheme: &str,
        service_port: u16,
    ) -> Result<Self> {
        let (port, service) = (ports::reserve(1)?[0], format!("service/{channel}-broker"));
        let mut command = Command::new(&cluster.kubectl);
        let ports = format!("{port}:{service_port}");
        command.args(["-n", namespace, "port-forward", &service, &ports]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let forwarding = Some(tokio::spawn(forward(command)));
        let channel = format!("{scheme}://127.0.0.1:{port}/channels/{namespace}/{channel}");
        let reach = Self { channel, forwarding };
        eventually("the forwarded port answers", FORWARD_TIMEOUT, || {
            answers(reach.channel.clone())
        })
        .await?;
        Ok(reach)
    }

    /// What the broker says about the channel.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn describe(&self) -> Result<Value> {
        let request = http::client(http::Version::Http1).get(&self.channel);
        let answer = request.timeout(CONNECT_TIMEOUT).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// Whether a forwarded port leads there, which is not for many connections.
    #[must_use]
    pub fn is_forwarded(&self) -> bool {
        self.forwarding.is_some()
    }

    /// URL of the channel's events, with this query.
    #[must_use]
    pub fn events(&self, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}/events{mark}{query}", self.channel)
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        if let Some(forwarding) = &self.forwarding {
            forwarding.abort(); // kubectl goes with it
        }
    }
}

/// Whether a broker answers, and not something that accepts every packet.
async fn answers(channel: String) -> Result<()> {
    let answer =
        http::client(http::Version::Http1).get(channel).timeout(CONNECT_TIMEOUT).send().await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    Ok(())
}

async fn forward(mut command: Command) {
    loop {
        if let Ok(mut child) = command.spawn() {
            drop(child.wait().await); // however it ended: again
        }
        sleep(RETRY_INTERVAL).await;
    }
}
