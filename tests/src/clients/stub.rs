//! A server with one fixed response, the exact bytes of a broker, that counts which clients come back for it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::Result;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Requests by the last segment of their path.
type Counts = Arc<Mutex<BTreeMap<String, usize>>>;

/// A running server.
#[derive(Debug)]
pub struct Stub {
    status: u16,
    address: SocketAddr,
    counts: Counts,
    accept: JoinHandle<()>,
}

impl Stub {
    /// A server that answers every request as a broker did, and closes the connection.
    ///
    /// # Errors
    /// When the answer cannot be read, or there is no port.
    pub async fn of(answer: reqwest::Response) -> Result<Self> {
        let status = answer.status().as_u16();
        let mut head = String::new();
        for (name, value) in answer.headers() {
            if name != "content-length" && name != "transfer-encoding" {
                head += &format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
            }
        }
        let body = answer.text().await?;
        Self::start(status, &format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await
    }

    /// A server that answers every request with this status and nothing else.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn empty(status: u16) -> Result<Self> {
        Self::start(status, "\r\n").await
    }

    async fn start(status: u16, rest: &str) -> Result<Self> {
        let answer = Arc::new(format!("HTTP/1.1 {status} -\r\nconnection: close\r\n{rest}"));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Counts::default();
        let accept = tokio::spawn(accept(listener, answer, Arc::clone(&counts)));
        Ok(Self { status, address, counts, accept })
    }

    /// The status it answers with.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The URL whose requests are counted as those of `name`.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/events/{name}", self.address)
    }

    /// How often `name` came.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.counts.lock().get(name).copied().unwrap_or(0)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(listener: TcpListener, answer: Arc<String>, counts: Counts) {
    while let Ok((socket, _)) = listener.accept().await {
        let (answer, counts) = (Arc::clone(&answer), Arc::clone(&counts));
        tokio::spawn(async move {
            // who goes away before the answer has still come
            drop(serve(socket, &answer, &counts).await);
        });
    }
}

async fn serve(mut socket: TcpStream, answer: &str, counts: &Counts) -> Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if socket.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split([' ', '?']).nth(1).unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    *counts.lock().entry(name).or_default() += 1;
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await?;
    // read to the end, so that the answer is not lost in a reset
    while socket.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}
