//! Sockets to requests: the accept loop, the limits of connections, and hyper's settings.

mod connection;
mod one;
mod wire;

pub(crate) use connection::kill_switch;

use std::{io, sync::Arc, time::Duration};

use eventcast_crds::process::listen::is_broken;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{broker::Broker, fanout::Held, metrics::Counted};

/// Unsent bytes that the kernel holds for a socket: what a stalled reader pins.
const NOT_SENT_BYTES: u32 = 16 << 10;
/// A peer that acknowledges nothing for so long is gone, also without a FIN.
const GONE: Duration = Duration::from_secs(45);

/// Accepts until `stop`, then closes the listener. `drain` tells connections to finish what they do.
///
/// # Errors
/// The listener is broken.
pub(crate) async fn accept(
    listener: TcpListener,
    broker: Arc<Broker>,
    stop: CancellationToken,
    drain: CancellationToken,
    connections: TaskTracker,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(broker.config().limits.connections));
    loop {
        // The permit comes first: what is over the limit waits in the kernel's queue.
        let permit = tokio::select! {
            Ok(permit) = Arc::clone(&permits).acquire_owned() => permit,
            () = stop.cancelled() => return Ok(()),
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return Ok(()),
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_broken(&error) => return Err(error),
            Err(error) => {
                broker.metrics.accept_errors.inc();
                tracing::warn!(%error, "cannot accept a connection");
                // Out of file descriptors, most likely: others must end first.
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if let Err(error) = tune(&socket) {
            tracing::debug!(%error, "cannot set options of a socket");
        }
        let (broker, drain) = (Arc::clone(&broker), drain.clone());
        let held = Held {
            _permit: permit,
            _waited_for: connections.token(),
            _open: Counted::new(&broker.metrics.connections),
        };
        tokio::spawn(connection::serve(socket, peer.ip(), broker, drain, held));
    }
}

/// Lets this process open as many files as it may, and says where that is too few for the configured connections.
pub(crate) fn raise_file_limit(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let now = if current == maximum || setrlimit(Resource::Nofile, raised).is_ok() {
        maximum
    } else {
        current
    };
    // NATS, listeners, logs and probes come on top.
    let wanted = connections as u64 + 128;
    if let Some(files) = now.filter(|n| *n < wanted) {
        tracing::warn!(
            files,
            wanted,
            "this process may open too few files for limits.connections: raise the limit, or lower the other"
        );
    }
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
    s.set_tcp_user_timeout(Some(GONE))?;
    s.set_tcp_notsent_lowat(NOT_SENT_BYTES)
}
