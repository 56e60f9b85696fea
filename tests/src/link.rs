//! A proxy between a broker and NATS that a test can cut or freeze: faults that kill no process.
//!
//! Cut: connections are closed, and new ones at once after they were made. Frozen: connections stay open and no byte passes, as
//! with a firewall that drops packets; what was sent meanwhile passes after [`Link::mend`].

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinHandle,
};

/// What the wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Frozen,
    Cut,
}

/// A wire to one server.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
    accept: JoinHandle<()>,
}

impl Link {
    /// A wire to `nats://HOST:PORT`.
    ///
    /// # Errors
    /// When there is no port for it.
    pub async fn to(url: &str) -> Result<Self> {
        let target: SocketAddr = url.trim_start_matches("nats://").parse().context("no address")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(State::Open);
        let accept = tokio::spawn(accept(listener, target, state.clone()));
        Ok(Self { address, state, accept })
    }

    /// `nats://127.0.0.1:PORT` of this end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Closes all connections, and new ones, until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Lets nothing pass until [`mend`](Self::mend).
    pub fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }

    /// Lets everything pass again.
    pub fn mend(&self) {
        self.state.send_replace(State::Open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
        self.accept.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Sender<State>) {
    while let Ok((near, _)) = listener.accept().await {
        let (mut state, there, back) = (state.subscribe(), state.subscribe(), state.subscribe());
        tokio::spawn(async move {
            let passing = async {
                let far = TcpStream::connect(target).await?;
                near.set_nodelay(true)?;
                far.set_nodelay(true)?;
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                tokio::try_join!(pass(near_in, far_out, there), pass(far_in, near_out, back))
            };
            tokio::select! {
                ended = passing => drop(ended),
                _ = state.wait_for(|state| *state == State::Cut) => {}
            }
        });
    }
}

/// Passes bytes one way while the wire is open.
async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if state.wait_for(|state| *state == State::Open).await.is_err() || count == 0 {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        to.write_all(&buffer[..count]).await?;
    }
}
