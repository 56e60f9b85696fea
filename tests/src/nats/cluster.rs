//! Three nats-servers on loopback that form a cluster, and what a fault suite does to them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, jetstream};

use super::{NatsServer, START_TIMEOUT, reach::connect};
use crate::{eventually, ports};

/// A JetStream cluster. Stopped nodes keep their port and their store.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// A cluster of `size` nodes that syncs every second: with three copies the quorum is the durability.
    ///
    /// # Errors
    /// When it has no leader in time.
    pub async fn start(size: usize) -> Result<Self> {
        Self::start_with(size, "1s").await
    }

    /// A cluster with another `sync_interval`.
    ///
    /// # Errors
    /// When it has no leader in time.
    pub async fn start_with(size: usize, sync_interval: &str) -> Result<Self> {
        let ports = ports::reserve(2 * size)?;
        let (clients, routes) = ports.split_at(size);
        let known: Vec<String> =
            routes.iter().map(|port| format!("nats-route://127.0.0.1:{port}")).collect();
        let mut nodes = Vec::new();
        for (index, (client, route)) in clients.iter().zip(routes).enumerate() {
            // no_advertise: clients shall know the nodes that they were told, in every run
            let more = format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{route}\", no_advertise: true, routes: {known:?} }}"
            );
            let name = format!("n{index}");
            nodes.push(NatsServer::prepare(&name, *client, sync_interval, &more)?);
        }
        // all at once: none of them answers before two of them have met
        for node in &mut nodes {
            node.launch()?;
        }
        for node in &nodes {
            node.answers().await?;
        }
        Ok(Self { nodes })
    }

    /// The client addresses of all nodes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::url).collect()
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[NatsServer] {
        &self.nodes
    }

    /// A new connection to any node that answers.
    ///
    /// # Errors
    /// When none does.
    pub async fn client(&self) -> Result<Client> {
        connect(&self.urls(), None).await
    }

    /// JetStream over a new connection to any node.
    ///
    /// # Errors
    /// When none answers.
    pub async fn jetstream(&self) -> Result<jetstream::Context> {
        Ok(jetstream::new(self.client().await?))
    }

    /// `kill -9` of one node.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill9(&mut self, index: usize) -> Result<()> {
        self.nodes[index].kill9()
    }

    /// Starts a node again and waits until it answers for JetStream, which needs a leader.
    ///
    /// # Errors
    /// When it does not.
    pub async fn restart(&mut self, index: usize) -> Result<()> {
        self.nodes[index].restart().await
    }

    /// Pauses a node (`SIGSTOP`).
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self, index: usize) -> Result<()> {
        self.nodes[index].pause()
    }

    /// Ends [`pause`](Self::pause).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self, index: usize) -> Result<()> {
        self.nodes[index].resume()
    }

    /// `SIGUSR2` to one node.
    ///
    /// # Errors
    /// When it does not run.
    pub fn lame_duck(&self, index: usize) -> Result<()> {
        self.nodes[index].lame_duck()
    }

    /// The node that leads `stream`.
    ///
    /// # Errors
    /// When there is no leader in time.
    pub async fn leader(&self, stream: &str) -> Result<usize> {
        eventually(&format!("{stream} has a leader"), START_TIMEOUT, || async {
            let jetstream = self.jetstream().await?;
            let stream = jetstream.get_stream(stream).await?;
            let cluster = stream.cached_info().cluster.as_ref().context("not a cluster")?;
            let leader = cluster.leader.as_ref().context("no leader")?;
            self.nodes.iter().position(|node| node.name() == leader).context("an unknown leader")
        })
        .await
    }

    /// Makes the leader of `stream` step down.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn stepdown(&self, stream: &str) -> Result<()> {
        let subject = format!("STREAM.LEADER.STEPDOWN.{stream}");
        let answer: serde_json::Value = self.jetstream().await?.request(subject, &()).await?;
        ensure!(answer["success"] == true, "stepdown of {stream}: {answer}");
        Ok(())
    }

    /// Waits until every node has all of `stream`.
    ///
    /// # Errors
    /// When one lags after `within`.
    pub async fn in_sync(&self, stream: &str, within: Duration) -> Result<()> {
        let others = self.nodes.len() - 1;
        eventually(&format!("{stream} is in sync"), within, || async {
            let jetstream = self.jetstream().await?;
            let stream = jetstream.get_stream(stream).await?;
            let cluster = stream.cached_info().cluster.clone().context("not a cluster")?;
            let current = cluster.replicas.iter().filter(|peer| peer.current && !peer.offline);
            let current = current.count();
            ensure!(cluster.leader.is_some() && current == others, "{current} of {others} follow");
            Ok(())
        })
        .await
    }
}
