//! Requests and responses byte by byte, in both versions of HTTP, for the suites `rules_*` and `attacks_*`.
//!
//! [`BrokerWithNats`] is a broker with its NATS server, [`RawResponse`] a response whose body is read as it arrives,
//! [`Http2Connection`] an HTTP/2 connection with as many streams as a test wants.

mod expect;
mod http2;

pub use http2::Http2Connection;

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    broker::Broker,
    eventually,
    http::{Answer, Head, Http1Connection, Publish, Version, client},
    nats::NatsServer,
    tls::Socket,
};

/// Path of the events of the default channel.
pub const EVENTS: &str = "/channels/default/demo/events";
/// Both versions of HTTP: the contract is the same for both.
pub const HTTP_VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];
/// How long a read waits for bytes that must arrive.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A broker and the NATS server that keeps its log. It can be used as the [`Broker`] itself.
#[derive(Debug)]
pub struct BrokerWithNats {
    /// The server that keeps the log.
    pub nats: NatsServer,
    broker: Broker,
}

impl Deref for BrokerWithNats {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

impl DerefMut for BrokerWithNats {
    fn deref_mut(&mut self) -> &mut Broker {
        &mut self.broker
    }
}

impl BrokerWithNats {
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
    /// When no response arrives.
    pub async fn request(
        &self,
        version: Version,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<RawResponse> {
        RawResponse::request(version, self.broker.address(), method, target, headers, b"").await
    }

    /// Subscribes to `default/demo`, with `query` (`""`, or `"?topic=a"`).
    ///
    /// # Errors
    /// When no response arrives, or it is not an event stream.
    pub async fn subscribe(
        &self,
        version: Version,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Result<RawResponse> {
        let response = self.request(version, "GET", &format!("{EVENTS}{query}"), headers).await?;
        ensure!(response.head.status == 200, "{query} {headers:?}: {:?}", response.head);
        Ok(response)
    }

    /// Subscribes and waits until the stream is open: its first bytes have come.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe), or when they do not arrive.
    pub async fn open_stream(&self, version: Version, query: &str) -> Result<RawResponse> {
        let mut response = self.subscribe(version, query, &[]).await?;
        response.read_until(b"\n:\n").await?;
        Ok(response)
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
    /// When no response arrives.
    pub async fn send(&self, event: &Publish) -> Result<Answer> {
        event.send(&client(Version::Http1), &self.broker.url(EVENTS)).await
    }

    /// Waits until `wanted` accepts a metric, summed over all samples with `labels`.
    ///
    /// # Errors
    /// When it is not within `within`.
    pub async fn wait_for_metric(
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

/// A response: its head, and its body as it arrives.
#[derive(Debug)]
pub struct RawResponse {
    /// Status and headers.
    pub head: Head,
    source: Source,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    Http1(Box<Http1Connection>),
    Http2(h2::RecvStream, Option<Http2Connection>),
}

impl RawResponse {
    /// Sends a request over a connection of its own and reads the head of the answer.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn request(
        version: Version,
        address: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Self> {
        if version == Version::Http2 {
            let connection = Http2Connection::connect(address).await?;
            return Self::of_http2(connection, method, target, headers, body).await;
        }
        let connection = Http1Connection::connect(address).await?;
        Self::of_http1(connection, address, method, target, headers, body).await
    }

    /// As [`request`](Self::request), over a socket that is connected.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn over(
        version: Version,
        socket: Socket,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Self> {
        if version == Version::Http2 {
            let connection = Http2Connection::over(socket, &h2::client::Builder::new()).await?;
            return Self::of_http2(connection, method, target, headers, body).await;
        }
        let address = socket.tcp().peer_addr()?.to_string();
        let connection = Http1Connection::over(socket);
        Self::of_http1(connection, &address, method, target, headers, body).await
    }

    async fn of_http2(
        mut connection: Http2Connection,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Self> {
        let mut response = connection.request(method, target, headers, body).await?;
        if let Source::Http2(_, owner) = &mut response.source {
            *owner = Some(connection);
        }
        Ok(response)
    }

    async fn of_http1(
        mut connection: Http1Connection,
        address: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Self> {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n");
        if !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        connection.send([(text + "\r\n").as_bytes(), body].concat()).await?;
        let head = connection.read_head().await?;
        Ok(Self { head, source: Source::Http1(Box::new(connection)), buffer: Vec::new() })
    }

    /// The next chunk or DATA frame as it came; `None` at the end of the body.
    ///
    /// # Errors
    /// When the connection breaks, or nothing arrives for ten seconds.
    pub async fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        timeout(READ_TIMEOUT, self.read()).await.context("nothing came")?
    }

    /// The body up to and with `mark`; keeps the rest.
    ///
    /// # Errors
    /// When the body ends before, or nothing arrives for ten seconds.
    pub async fn read_until(&mut self, mark: &[u8]) -> Result<Vec<u8>> {
        let mut searched = 0; // nothing is looked at twice: a replay comes in thousands of pieces
        loop {
            let found = self.buffer[searched..].windows(mark.len()).position(|w| w == mark);
            if let Some(at) = found {
                return Ok(self.buffer.drain(..searched + at + mark.len()).collect());
            }
            searched = (self.buffer.len() + 1).saturating_sub(mark.len());
            let Some(piece) = self.next_chunk().await? else {
                anyhow::bail!("it ended after {:?}", String::from_utf8_lossy(&self.buffer));
            };
            self.buffer.extend(piece);
        }
    }

    /// The next block, without the empty line that ends it; comments and `retry:` before it included.
    ///
    /// # Errors
    /// As [`read_until`](Self::read_until).
    pub async fn next_block(&mut self) -> Result<String> {
        let bytes = self.read_until(b"\n\n").await?;
        Ok(String::from_utf8(bytes)?.trim_end_matches('\n').to_owned())
    }

    /// The next block that has `wanted` in it.
    ///
    /// # Errors
    /// As [`read_until`](Self::read_until).
    pub async fn next_block_with(&mut self, wanted: &str) -> Result<String> {
        loop {
            let block = self.next_block().await?;
            if block.contains(wanted) {
                return Ok(block);
            }
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As [`next_chunk`](Self::next_chunk).
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>> {
        while let Some(piece) = self.next_chunk().await? {
            self.buffer.extend(piece);
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// The rest of the body as JSON.
    ///
    /// # Errors
    /// As [`next_chunk`](Self::next_chunk), or when it is none.
    pub async fn json(&mut self) -> Result<Value> {
        let body = self.read_to_end().await?;
        serde_json::from_slice(&body)
            .with_context(|| format!("not JSON: {:?}", String::from_utf8_lossy(&body)))
    }

    /// All values of a header.
    #[must_use]
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let of = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.head.headers.iter().filter(of).map(|(_, value)| value.as_str()).collect()
    }

    /// Waits as long as it takes.
    async fn read(&mut self) -> Result<Option<Vec<u8>>> {
        match &mut self.source {
            Source::Http1(connection) => connection.chunk().await,
            Source::Http2(body, _) => http2::read(body).await,
        }
    }
}
