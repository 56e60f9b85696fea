//! What goes over the wire, byte by byte, in both versions of HTTP: the rules and attacks of the suites `rules_*` and
//! `attacks_*` are spoken and heard here.
//!
//! [`Site`] is a broker with its NATS, [`Wire`] one answer whose body is read raw, [`Two`] a connection of HTTP/2 with
//! as many streams as a test wants.

mod says;
mod two;

pub use two::Two;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    broker::Broker,
    eventually,
    http::{Answer, Head, Publish, RawConn, Version, client},
    nats::NatsServer,
};

/// Where the events of the channel are.
pub const EVENTS: &str = "/channels/default/demo/events";
/// Both versions of HTTP: they meet the same contract.
pub const BOTH: [Version; 2] = [Version::One, Version::Two];
/// How long bytes that must come are waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A broker and the server it keeps its log in.
#[derive(Debug)]
pub struct Site {
    /// The log.
    pub nats: NatsServer,
    /// The broker.
    pub broker: Broker,
}

impl Site {
    /// Starts both. `change` sees the broker's configuration before it is written.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn start(change: impl FnOnce(&mut BrokerConfig)) -> Result<Self> {
        Self::start_with_files(None, change).await
    }

    /// As [`start`](Self::start), with a limit of open files for the broker.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn start_with_files(
        files: Option<u32>,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Result<Self> {
        crate::init_tracing();
        let nats = NatsServer::start_with("1m").await?; // nothing here dies: speed before durability
        let mut broker = Broker::launch_with_files(&nats.url(), files, change).await?;
        broker.ready(Duration::from_secs(30)).await?;
        Ok(Self { nats, broker })
    }

    /// Sends one request without a body and reads the head of its answer.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn ask(
        &self,
        version: Version,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Wire> {
        Wire::ask(version, self.broker.address(), method, target, headers, b"").await
    }

    /// Subscribes to `default/demo`, with `query` (`""`, or `"?topic=a"`).
    ///
    /// # Errors
    /// When no answer comes, or it is no event stream.
    pub async fn subscribe(
        &self,
        version: Version,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Result<Wire> {
        let wire = self.ask(version, "GET", &format!("{EVENTS}{query}"), headers).await?;
        ensure!(wire.head.status == 200, "{query} {headers:?}: {:?}", wire.head);
        Ok(wire)
    }

    /// Subscribes and waits until the stream is open: its first bytes have come.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe), or when they do not come.
    pub async fn listen(&self, version: Version, query: &str) -> Result<Wire> {
        let mut wire = self.subscribe(version, query, &[]).await?;
        wire.until(b"\n:\n").await?;
        Ok(wire)
    }

    /// Publishes `data`, which must be stored, and returns its cursor.
    ///
    /// # Errors
    /// When it is not stored.
    pub async fn publish(&self, data: impl Into<Vec<u8>>) -> Result<String> {
        let answer = self.send(&Publish::new(data)).await?;
        ensure!(answer.status == 201, "not stored: {answer:?}");
        Ok(answer.cursor().context("no cursor")?.to_owned())
    }

    /// Sends what a publisher wrote.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(&self, event: &Publish) -> Result<Answer> {
        event.send(&client(Version::One), &self.broker.url(EVENTS)).await
    }

    /// Waits until a metric, summed over all samples with `labels`, is what `wanted` wants.
    ///
    /// # Errors
    /// When it is not within `within`.
    pub async fn metric(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        within: Duration,
        wanted: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        eventually(&format!("{name}{labels:?}"), within, || async {
            let value = self.broker.metric(name, labels).await?;
            ensure!(wanted(value), "it is {value}");
            Ok(value)
        })
        .await
    }
}

/// An answer: its head, and its body as it comes.
#[derive(Debug)]
pub struct Wire {
    /// Status and headers.
    pub head: Head,
    source: Source,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    One(Box<RawConn>),
    Two(h2::RecvStream, Option<Two>),
}

impl Wire {
    /// Sends a request over a connection of its own and reads the head of the answer.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn ask(
        version: Version,
        address: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Self> {
        if version == Version::Two {
            let mut connection = Two::connect(address).await?;
            let mut wire = connection.ask(method, target, headers, body).await?;
            if let Source::Two(_, owner) = &mut wire.source {
                *owner = Some(connection);
            }
            return Ok(wire);
        }
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n");
        if !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        let mut connection = RawConn::connect(address).await?;
        connection.send([(text + "\r\n").as_bytes(), body].concat()).await?;
        let head = connection.read_head().await?;
        Ok(Self { head, source: Source::One(Box::new(connection)), buffer: Vec::new() })
    }

    /// The next chunk or DATA frame as it came; `None` at the end of the body.
    ///
    /// # Errors
    /// When the connection breaks, or nothing comes for ten seconds.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>> {
        timeout(PATIENCE, self.read()).await.context("nothing came")?
    }

    /// The body up to and with `mark`; keeps the rest.
    ///
    /// # Errors
    /// When the body ends before, or nothing comes for ten seconds.
    pub async fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>> {
        let mut searched = 0; // nothing is looked at twice: a replay comes in thousands of pieces
        loop {
            let found = self.buffer[searched..].windows(mark.len()).position(|w| w == mark);
            if let Some(at) = found {
                return Ok(self.buffer.drain(..searched + at + mark.len()).collect());
            }
            searched = (self.buffer.len() + 1).saturating_sub(mark.len());
            let Some(piece) = self.piece().await? else {
                anyhow::bail!("it ended after {:?}", String::from_utf8_lossy(&self.buffer));
            };
            self.buffer.extend(piece);
        }
    }

    /// The next block, without the empty line that ends it; comments and `retry:` before it included.
    ///
    /// # Errors
    /// As [`until`](Self::until).
    pub async fn block(&mut self) -> Result<String> {
        let bytes = self.until(b"\n\n").await?;
        Ok(String::from_utf8(bytes)?.trim_end_matches('\n').to_owned())
    }

    /// The next block that has `wanted` in it.
    ///
    /// # Errors
    /// As [`until`](Self::until).
    pub async fn block_with(&mut self, wanted: &str) -> Result<String> {
        loop {
            let block = self.block().await?;
            if block.contains(wanted) {
                return Ok(block);
            }
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As [`piece`](Self::piece).
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        while let Some(piece) = self.piece().await? {
            self.buffer.extend(piece);
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// The rest of the body as JSON.
    ///
    /// # Errors
    /// As [`piece`](Self::piece), or when it is none.
    pub async fn json(&mut self) -> Result<Value> {
        let body = self.rest().await?;
        serde_json::from_slice(&body)
            .with_context(|| format!("not JSON: {:?}", String::from_utf8_lossy(&body)))
    }

    /// All values of a header.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        let of = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.head.headers.iter().filter(of).map(|(_, value)| value.as_str()).collect()
    }

    /// Waits as long as it takes.
    async fn read(&mut self) -> Result<Option<Vec<u8>>> {
        match &mut self.source {
            Source::One(connection) => connection.chunk().await,
            Source::Two(body, _) => two::read(body).await,
        }
    }
}
