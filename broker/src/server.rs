//! The public listeners: accept connections within the limits, and start serving them.

mod connection;
mod deadline;
mod handshake;
mod http1;
mod http2;
mod linger;
mod overflow;
mod proxy_header;
mod refusal;
mod tls_handshake;
mod transport;

use std::{io, sync::Arc, time::Duration};

use eventcast_crds::config::Limits;
use eventcast_runtime::listener::is_broken;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    broker::Broker,
    sockets::{Capacity, TooFewFiles},
    tls::Certificates,
};
use overflow::Overflow;

/// Unsent bytes that the kernel buffers for a socket: the memory that a stalled reader costs.
const NOT_SENT_BYTES: u32 = 16 << 10;
/// A peer that acknowledges nothing for this long has disconnected, also without a FIN.
const ACK_TIMEOUT: Duration = Duration::from_secs(45);

/// How long to wait after a failed accept.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// The kind of a listener.
#[derive(Clone)]
pub(crate) enum Endpoint {
    /// HTTP without TLS.
    Plain,
    /// TLS with one of these certificates.
    Tls(Arc<Certificates>),
}

impl Endpoint {
    fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Accepts until `stop`, then closes the listener. After `drain`, connections complete their requests and close.
///
/// # Errors
/// The listener is broken.
pub(crate) async fn accept(
    listener: TcpListener,
    endpoint: Endpoint,
    broker: Arc<Broker>,
    stop: CancellationToken,
    drain: CancellationToken,
    connections: TaskTracker,
) -> io::Result<()> {
    let sockets = &broker.sockets;
    let overflow = Overflow::new(Arc::clone(&broker), endpoint.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return Ok(()),
        };
        let (socket, peer) = match accepted {
            Ok((socket, peer)) => (socket, peer.ip().to_canonical()),
            Err(error) if is_broken(&error) => return Err(error),
            Err(error) => {
                broker.metrics.accept_errors.inc();
                tracing::warn!(%error, "failed to accept a connection");
                // Most likely the process is out of file descriptors, and other connections must end first.
                sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        if let Err(error) = tune(&socket) {
            tracing::debug!(%error, "failed to set socket options");
        }
        sockets.make_room();
        let tracked = connections.token();
        match sockets.admit(peer, endpoint.is_tls(), tracked.clone()) {
            Some(guard) => {
                let (broker, drain) = (Arc::clone(&broker), drain.clone());
                // Boxed, so that its memory (14 KB) is freed when it ends. The memory of a task itself stays allocated while something has
                // a waker of it, as the connection of a stream does.
                let serving =
                    Box::pin(handshake::serve(socket, endpoint.clone(), broker, drain, guard));
                drop(tokio::spawn(serving));
            }
            None => overflow.take(socket, peer, tracked, drain.clone()),
        }
    }
}

/// Raises the limit of open files and returns the capacity it allows: fewer sockets than `limits` ask for if too few files may be
/// open.
pub(crate) fn capacity(limits: &Limits, shards: usize) -> Result<Capacity, TooFewFiles> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let files = if current == maximum || setrlimit(Resource::Nofile, raised).is_ok() {
        maximum
    } else {
        current
    };
    let capacity = Capacity::new(limits.connections, files, shards)?;
    if capacity.sockets < limits.connections {
        tracing::warn!(
            files = files.unwrap_or_default(),
            connections = capacity.sockets,
            "too few open files for limits.connections: raise the limit of open files or lower limits.connections"
        );
    }
    if capacity.for_streams < limits.subscribers {
        tracing::warn!(
            subscribers = limits.subscribers,
            connections_for_streams = capacity.for_streams,
            "limits.subscribers exceeds the connections that streams may use: raise limits.connections or lower limits.subscribers"
        );
    }
    Ok(capacity)
}

fn tune(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let s = socket2::SockRef::from(socket);
    s.set_tcp_keepalive(
        &socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10))
            .with_retries(3),
    )?;
    s.set_tcp_user_timeout(Some(ACK_TIMEOUT))?;
    s.set_tcp_notsent_lowat(NOT_SENT_BYTES)
}
