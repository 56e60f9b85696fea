//! Connections for which there is no socket left: a few at a time wait for a moment whether one becomes free, and are refused if
//! none does; the rest is refused at once. None is left to wait unseen in the kernel's queue.

use std::{io::Write as _, net::IpAddr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    connection::{self, is_http2},
    linger::{self, LINGER},
    refusal,
};
use crate::broker::Broker;

/// Sockets beyond the limit at once.
const SPARE: usize = 32;
/// How long such a connection waits for a socket: connections that were told to make room need a moment.
const ROOM: Duration = Duration::from_millis(500);
/// How long its first bytes are waited for, which tell in which protocol it is to be refused.
const FIRST_BYTES: Duration = Duration::from_millis(500);

/// The sockets beyond the limit.
pub(super) struct Spare {
    broker: Arc<Broker>,
    free: Arc<Semaphore>,
}

impl Spare {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { broker, free: Arc::new(Semaphore::new(SPARE)) }
    }

    /// Takes a connection for which there is no room.
    pub(super) fn take(
        &self,
        socket: TcpStream,
        peer: IpAddr,
        waited_for: TaskTrackerToken,
        drain: CancellationToken,
    ) {
        let broker = Arc::clone(&self.broker);
        let Ok(spare) = Arc::clone(&self.free).try_acquire_owned() else {
            broker.metrics.connections_refused("limit");
            // A new socket has room for this. If the client has asked already, its answer may be lost with the connection.
            // Not tokio's write, which waits to be told that the socket is writable.
            let written =
                socket.into_std().and_then(|mut s| s.write_all(&refusal::of_connection()));
            if let Err(error) = written {
                tracing::trace!(%error, "a connection beyond the limit was closed before us");
            }
            return;
        };
        tokio::spawn(async move {
            let room = broker.sockets.admit_within(ROOM, peer, waited_for).await;
            if let Some(held) = room {
                drop(spare);
                return connection::serve(socket, broker, drain, held).await;
            }
            broker.metrics.connections_refused("limit");
            let http2 = matches!(timeout(FIRST_BYTES, is_http2(&socket)).await, Ok(Ok(true)));
            if http2 {
                linger::close(socket, refusal::GO_AWAY, LINGER).await;
            } else {
                linger::close(socket, &refusal::of_connection(), LINGER).await;
            }
            drop(spare);
        });
    }
}
