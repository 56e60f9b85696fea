//! Sockets to requests: the accept loop, the limits of connections, and hyper's settings.

mod connection;
mod deadline;
mod frames;
mod linger;
mod one;
mod proxy_header;
mod refusal;
mod spare;
mod two;
mod wire;

pub(crate) use connection::kill_switch;

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
};
use spare::Spare;

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
    let sockets = &broker.sockets;
    let spare = Spare::new(Arc::clone(&broker));
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
                tracing::warn!(%error, "cannot accept a connection");
                // Out of file descriptors, most likely: others must end first.
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if let Err(error) = tune(&socket) {
            tracing::debug!(%error, "cannot set options of a socket");
        }
        sockets.make_room();
        let waited_for = connections.token();
        match sockets.admit(peer, waited_for.clone()) {
            Some(held) => drop(tokio::spawn(connection::serve(
                socket,
                Arc::clone(&broker),
                drain.clone(),
                held,
            ))),
            None => spare.take(socket, peer, waited_for, drain.clone()),
        }
    }
}

/// Lets this process open as many files as it may, and says how many sockets that is: fewer than the limits ask for where it may open
/// too few.
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
            "this process may open too few files for limits.connections: raise the limit of open files, or lower the other"
        );
    }
    if capacity.for_streams < limits.subscribers {
        tracing::warn!(
            subscribers = limits.subscribers,
            connections_for_streams = capacity.for_streams,
            "limits.subscribers is more than the connections that streams may take: raise limits.connections, or lower the other"
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
    s.set_tcp_user_timeout(Some(GONE))?;
    s.set_tcp_notsent_lowat(NOT_SENT_BYTES)
}
