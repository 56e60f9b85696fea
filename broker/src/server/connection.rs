//! The beginning of a connection: the PROXY protocol where it is required, then HTTP/1.1 or, by its preface, HTTP/2.

use std::{future::Future, io, net::IpAddr, sync::Arc, time::Duration};

use eventcast_crds::config::ProxyProtocol;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{http1, http2, proxy_header, transport::Transport};
use crate::{broker::Broker, client::is_trusted, sockets::ConnectionGuard};

/// The connection preface of HTTP/2 (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a request head may take from its first byte, and the first byte of a connection to arrive.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// hyper's buffer of unsent bytes for one connection or stream.
pub(super) const MAX_BUFFER: usize = 64 << 10;
/// How often a part of the HTTP/2 preface is looked at again: the socket stays readable, and cannot tell that more has arrived.
const PREFACE_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A connection that is served.
pub(super) struct ServedConnection {
    pub(super) transport: Transport,
    /// The other end of the connection, or the client that the PROXY protocol names.
    pub(super) peer: IpAddr,
    pub(super) guard: ConnectionGuard,
}

/// Runs `future` until it ends or `kill` is cancelled.
pub(super) async fn until_killed(kill: &CancellationToken, future: impl Future<Output = ()>) {
    tokio::select! {
        () = future => {}
        () = kill.cancelled() => {}
    }
}

/// The head size limit that hyper is given. `limits.headBytes` is enforced by us; hyper reads a little more, so that the client
/// gets a response with CORS headers.
pub(super) fn hyper_head_bytes(broker: &Broker) -> usize {
    2 * broker.config().limits.head_bytes + (8 << 10)
}

/// Serves `socket` until it ends or a shard has taken it over. After `drain`, requests under way are completed.
pub(super) async fn serve(
    mut socket: TcpStream,
    broker: Arc<Broker>,
    drain: CancellationToken,
    guard: ConnectionGuard,
) {
    let connection = Arc::clone(guard.connection());
    let begun = tokio::select! {
        begun = timeout(HEAD_TIMEOUT, begin(&mut socket, &broker, connection.peer())) => begun,
        () = connection.evicted() => return,
        () = drain.cancelled() => return,
    };
    let Ok(Some((peer, is_http2))) = begun else { return };
    let served = ServedConnection { transport: Transport::Plain(socket), peer, guard };
    if is_http2 {
        http2::serve(served, broker, drain).await;
    } else {
        http1::serve(served, broker, drain).await;
    }
}

/// Reads the client's address and whether it uses HTTP/2.
async fn begin(socket: &mut TcpStream, broker: &Broker, peer: IpAddr) -> Option<(IpAddr, bool)> {
    let config = broker.config();
    let limits = &config.limits;
    let client = match limits.proxy_protocol {
        ProxyProtocol::Off => peer,
        ProxyProtocol::Required if !is_trusted(peer, &limits.trusted_proxies) => {
            return refuse(broker, peer, "its address is not in limits.trustedProxies");
        }
        ProxyProtocol::Required => match proxy_header::read(socket).await {
            Ok(client) => client.unwrap_or(peer),
            Err(error) => return refuse(broker, peer, &error.to_string()),
        },
    };
    Some((client, is_http2(socket).await.ok()?))
}

/// Refuses a connection without a valid PROXY header where one is required.
fn refuse<T>(broker: &Broker, peer: IpAddr, why: &str) -> Option<T> {
    broker.metrics.connections_refused("proxy-protocol");
    tracing::debug!(%peer, why, "closing a connection: limits.proxyProtocol is required");
    None
}

/// Peeks at the first bytes.
pub(super) async fn is_http2(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let n = socket.peek(&mut first).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[..n] != PREFACE[..n] {
            return Ok(false);
        }
        if n == PREFACE.len() {
            return Ok(true);
        }
        sleep(PREFACE_POLL_INTERVAL).await;
    }
}
