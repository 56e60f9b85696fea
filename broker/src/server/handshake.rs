//! The beginning of a connection: the PROXY protocol where it is required, then HTTP/1.1 or, by its preface, HTTP/2.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use eventcast_crds::config::ProxyProtocol;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{HEAD_TIMEOUT, PREFACE, ServedConnection},
    http1, http2, proxy_header,
    transport::Transport,
};
use crate::{broker::Broker, client::is_trusted, sockets::ConnectionGuard};

/// How often a part of the HTTP/2 preface is looked at again: the socket stays readable, and cannot tell that more has arrived.
const PREFACE_POLL_INTERVAL: Duration = Duration::from_millis(5);

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
