//! Brokers that only have an admin port, with counts that a test sets: hundreds of streams cost nothing, and no kubelet is needed. They follow orders
//! when the test lets them, as the kubelet and a broker would.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use eventcast_crds::{
    broker_status::{BrokerStatus, ChannelReport},
    orders::{ANNOTATION, Order},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::DeleteParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::{namespace::TestNamespace, pods};

/// What a broker reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Open streams.
    pub streams: u64,
    /// Streams that were closed by order.
    pub shed: u64,
}

/// Starts a broker of a channel: what it answers follows `counts`. The port of its admin listener.
///
/// # Errors
/// When there is no free port.
pub async fn spawn(
    servers: &mut JoinSet<()>,
    ns: &TestNamespace,
    channel: &str,
    counts: Arc<Mutex<Counts>>,
) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    servers.spawn(serve(listener, format!("{}/{channel}", ns.name), counts));
    Ok(port)
}

/// The status of a pod whose container runs. `since`: it has been ready since then.
#[must_use]
pub fn running(since: Option<jiff::Timestamp>) -> Value {
    let ready = since.map(|since| {
        json!({"type": "Ready", "status": "True", "lastTransitionTime": format!("{since:.0}")})
    });
    json!({"phase": "Running", "podIP": "127.0.0.1", "conditions": Vec::from_iter(ready)})
}

/// The brokers of one channel.
pub struct SimulatedBrokers {
    pods: Api<Pod>,
    channel: String,
    brokers: Vec<(String, Arc<Mutex<Counts>>)>,
    servers: JoinSet<()>,
    /// Clients that have come back.
    returned: usize,
}

impl SimulatedBrokers {
    /// None yet.
    #[must_use]
    pub fn new(ns: &TestNamespace, channel: &str) -> Self {
        let (pods, channel) = (ns.api(), channel.into());
        Self { pods, channel, brokers: Vec::new(), servers: JoinSet::new(), returned: 0 }
    }

    /// Starts a broker that has been ready for two minutes.
    ///
    /// # Errors
    /// When its pod cannot be created.
    pub async fn start(&mut self, ns: &TestNamespace, streams: u64) -> Result<String> {
        let name = format!("{}-broker-{}", self.channel, self.brokers.len());
        let counts = Arc::new(Mutex::new(Counts { streams, shed: 0 }));
        let port = spawn(&mut self.servers, ns, &self.channel, Arc::clone(&counts)).await?;
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(120);
        pods::create(ns, &self.channel, &name, port, running(Some(since))).await?;
        self.brokers.push((name.clone(), counts));
        Ok(name)
    }

    /// Changes the counts of a broker.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn set(&self, name: &str, streams: u64) -> Result<()> {
        let found = self.brokers.iter().find(|(broker, _)| broker == name);
        found.context("no such broker")?.1.lock().streams = streams;
        Ok(())
    }

    /// The counts of all brokers, in the order of their start.
    #[must_use]
    pub fn streams(&self) -> Vec<u64> {
        self.brokers.iter().map(|(_, counts)| counts.lock().streams).collect()
    }

    /// Ends a broker, as Kubernetes does when there are too many.
    ///
    /// # Errors
    /// When its pod cannot be deleted.
    pub async fn remove(&mut self, name: &str) -> Result<()> {
        self.brokers.retain(|(broker, _)| broker != name);
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.pods.delete(name, &params).await?;
        Ok(())
    }

    /// The pods, in the order of their start.
    ///
    /// # Errors
    /// When one is not there.
    pub async fn all_pods(&self) -> Result<Vec<Pod>> {
        let mut pods = Vec::new();
        for (name, _) in &self.brokers {
            pods.push(self.pods.get(name).await?);
        }
        Ok(pods)
    }

    /// Closes what orders ask for, at most `limit` streams of each broker. Their clients come back to any broker, one after the other.
    ///
    /// # Errors
    /// When a pod is not there, or has an order that cannot be read.
    pub async fn follow_orders(&mut self, limit: u64) -> Result<Vec<Order>> {
        let mut orders = Vec::new();
        let mut moved = 0;
        for (pod, (_, counts)) in self.all_pods().await?.iter().zip(&self.brokers) {
            let Some(text) = pod.annotations().get(ANNOTATION) else { continue };
            let order: Order = serde_json::from_str(text)?;
            let mut counts = counts.lock();
            let closed = counts.streams.saturating_sub(order.ceiling).min(limit);
            counts.streams -= closed;
            counts.shed += closed;
            moved += closed;
            orders.push(order);
        }
        for _ in 0..moved {
            let (_, counts) = &self.brokers[self.returned % self.brokers.len()];
            counts.lock().streams += 1;
            self.returned += 1;
        }
        Ok(orders)
    }
}

/// Answers each request with the status of a broker.
async fn serve(listener: TcpListener, channel: String, counts: Arc<Mutex<Counts>>) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let Counts { streams, shed } = *counts.lock();
        let report = ChannelReport {
            channel: channel.clone(),
            subscribers: streams,
            live: true,
            ..ChannelReport::default()
        };
        let status = BrokerStatus {
            version: "1.0.0".into(),
            streams: Some(streams),
            shed: Some(shed),
            channels: vec![report],
            ..BrokerStatus::default()
        };
        let body = json!(status).to_string();
        let length = body.len();
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        let mut request = [0; 1024];
        if socket.read(&mut request).await.is_ok() {
            drop(socket.write_all(response.as_bytes()).await);
        }
    }
}
