//! Handles connections beyond the limit. A few at a time wait briefly for a permit and are refused if none becomes free; the others are
//! refused at once. None is left in the accept queue of the kernel, where it would wait without an answer.

use std::{io::Write as _, net::IpAddr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    Endpoint,
    handshake::{self, is_http2},
    linger::{self, LINGER},
    refusal,
};
use crate::{broker::Broker, tls};

/// The most connections beyond the limit that wait at a time.
const MAX_WAITING: usize = 32;
/// How long a connection waits for a permit. Evicted connections need a moment to close.
const ADMISSION_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the first bytes of a connection may take, which tell the protocol for its refusal.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_millis(500);

/// Serves connections beyond the limit.
pub(super) struct Overflow {
    broker: Arc<Broker>,
    endpoint: Endpoint,
    slots: Arc<Semaphore>,
}

impl Overflow {
    pub(super) fn new(broker: Arc<Broker>, endpoint: Endpoint) -> Self {
        Self { broker, endpoint, slots: Arc::new(Semaphore::new(MAX_WAITING)) }
    }

    /// Takes a connection that was not admitted.
    pub(super) fn take(
        &self,
        socket: TcpStream,
        peer: IpAddr,
        tracked: TaskTrackerToken,
        drain: CancellationToken,
    ) {
        let (broker, endpoint) = (Arc::clone(&self.broker), self.endpoint.clone());
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            broker.metrics.connections_refused("limit");
            // The buffer of a new socket has room for this. If the client has sent a request already, the response may be lost
            // with the connection. Not tokio's write, which first waits until the socket is reported writable.
            let last = match endpoint {
                Endpoint::Plain => refusal::of_connection(&broker.metrics, peer),
                // A response would require a handshake, for which there is no capacity.
                Endpoint::Tls(_) => tls::ALERT.into(),
            };
            let written = socket.into_std().and_then(|mut s| s.write_all(&last));
            if let Err(error) = written {
                tracing::trace!(%error, "a client beyond the limit closed its socket first");
            }
            return;
        };
        tokio::spawn(async move {
            let is_tls = endpoint.is_tls();
            let admitted =
                broker.sockets.admit_within(ADMISSION_TIMEOUT, peer, is_tls, tracked).await;
            if let Some(guard) = admitted {
                drop(slot);
                return handshake::serve(socket, endpoint, broker, drain, guard).await;
            }
            broker.metrics.connections_refused("limit");
            let last = match endpoint {
                Endpoint::Tls(_) => tls::ALERT.into(),
                Endpoint::Plain => match timeout(FIRST_BYTES_TIMEOUT, is_http2(&socket)).await {
                    Ok(Ok(true)) => refusal::GO_AWAY.into(),
                    _ => refusal::of_connection(&broker.metrics, peer),
                },
            };
            linger::close(socket, &last, LINGER).await;
            drop(slot);
        });
    }
}
