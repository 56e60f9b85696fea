//! Connections beyond the limit. A few at a time wait a moment for a socket to become free and are refused if none does; the others
//! are refused at once. None is left to wait in the kernel's accept queue, where nobody sees it.

use std::{io::Write as _, net::IpAddr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    handshake::{self, is_http2},
    linger::{self, LINGER},
    refusal,
};
use crate::broker::Broker;

/// The most connections beyond the limit that wait at a time.
const MAX_WAITING: usize = 32;
/// How long a connection waits for a socket. Evicted connections need a moment to close.
const ADMISSION_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the first bytes of a connection may take, which tell the protocol for its refusal.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_millis(500);

/// Serves connections beyond the limit.
pub(super) struct Overflow {
    broker: Arc<Broker>,
    slots: Arc<Semaphore>,
}

impl Overflow {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { broker, slots: Arc::new(Semaphore::new(MAX_WAITING)) }
    }

    /// Takes a connection that was not admitted.
    pub(super) fn take(
        &self,
        socket: TcpStream,
        peer: IpAddr,
        tracked: TaskTrackerToken,
        drain: CancellationToken,
    ) {
        let broker = Arc::clone(&self.broker);
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            broker.metrics.connections_refused("limit");
            // The buffer of a new socket has room for this. If the client has sent a request already, the response may be lost
            // with the connection. Not tokio's write, which first waits until the socket is reported writable.
            let written =
                socket.into_std().and_then(|mut s| s.write_all(&refusal::of_connection()));
            if let Err(error) = written {
                tracing::trace!(%error, "a client beyond the limit closed its socket first");
            }
            return;
        };
        tokio::spawn(async move {
            let admitted = broker.sockets.admit_within(ADMISSION_TIMEOUT, peer, tracked).await;
            if let Some(guard) = admitted {
                drop(slot);
                return handshake::serve(socket, broker, drain, guard).await;
            }
            broker.metrics.connections_refused("limit");
            let http2 =
                matches!(timeout(FIRST_BYTES_TIMEOUT, is_http2(&socket)).await, Ok(Ok(true)));
            if http2 {
                linger::close(socket, refusal::GO_AWAY, LINGER).await;
            } else {
                linger::close(socket, &refusal::of_connection(), LINGER).await;
            }
            drop(slot);
        });
    }
}
