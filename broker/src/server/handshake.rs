//! The start of a connection: the PROXY protocol if it is required, TLS on its listener, then the choice of HTTP/1.1 or HTTP/2, by ALPN or
//! by the connection preface.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use eventcast_crds::config::ProxyProtocol;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Endpoint,
    connection::{HEAD_TIMEOUT, ServedConnection},
    http1, http2, proxy_header, tls_handshake,
    transport::Transport,
};
use crate::{
    broker::Broker, client::is_trusted, http2::PREFACE, sockets::ConnectionGuard,
    tls::ClientCertificate,
};

/// How often an incomplete HTTP/2 preface is peeked at again: the socket stays readable, so readiness does not show that more has arrived.
const PREFACE_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A connection whose protocol is known.
struct Begun {
    transport: Transport,
    client: IpAddr,
    certificate: Option<Arc<ClientCertificate>>,
    is_http2: bool,
}

/// Serves `socket` until it ends or is handed to a shard. After `drain`, requests under way are completed.
pub(super) async fn serve(
    socket: TcpStream,
    endpoint: Endpoint,
    broker: Arc<Broker>,
    drain: CancellationToken,
    guard: ConnectionGuard,
) {
    let connection = Arc::clone(guard.connection());
    let by = Instant::now() + HEAD_TIMEOUT;
    let begun = tokio::select! {
        begun = begin(socket, &endpoint, &broker, connection.peer(), by) => begun,
        () = connection.evicted() => return,
        () = drain.cancelled() => return,
    };
    let Some(Begun { transport, client: peer, certificate, is_http2 }) = begun else { return };
    // A handshake and a head together have the time of a head.
    let first_head_by = endpoint.is_tls().then_some(by);
    let served = ServedConnection { transport, peer, certificate, guard, first_head_by };
    if is_http2 {
        http2::serve(served, &broker, drain);
    } else {
        http1::serve(served, broker, drain).await;
    }
}

/// Reads everything before the first request, until `by`.
async fn begin(
    mut socket: TcpStream,
    endpoint: &Endpoint,
    broker: &Broker,
    peer: IpAddr,
    by: Instant,
) -> Option<Begun> {
    let client = timeout_at(by, client(&mut socket, broker, peer)).await.ok()??;
    match endpoint {
        Endpoint::Plain => {
            let is_http2 = timeout_at(by, is_http2(&socket)).await.ok()?.ok()?;
            let transport = Transport::Plain(socket);
            Some(Begun { transport, client, certificate: None, is_http2 })
        }
        Endpoint::Tls(certificates) => {
            let accepted = tls_handshake::accept(socket, certificates, broker, client, by).await?;
            let (stream, certificate) = accepted;
            let is_http2 = stream.is_http2();
            let transport = Transport::Tls(Box::new(stream));
            Some(Begun { transport, client, certificate: certificate.map(Arc::new), is_http2 })
        }
    }
}

/// The address of the client.
async fn client(socket: &mut TcpStream, broker: &Broker, peer: IpAddr) -> Option<IpAddr> {
    let config = broker.config();
    let limits = &config.limits;
    match limits.proxy_protocol {
        ProxyProtocol::Off => Some(peer),
        ProxyProtocol::Required if !is_trusted(peer, &limits.trusted_proxies) => {
            refuse(broker, peer, "its address is not in limits.trustedProxies")
        }
        ProxyProtocol::Required => match proxy_header::read(socket).await {
            Ok(client) => Some(client.unwrap_or(peer).to_canonical()),
            Err(error) => refuse(broker, peer, &error.to_string()),
        },
    }
}

/// Refuses a connection without a valid PROXY header where one is required.
fn refuse<T>(broker: &Broker, peer: IpAddr, why: &str) -> Option<T> {
    broker.metrics.connections_refused("proxy-protocol");
    tracing::debug!(client = %peer, reason = why, "closing a connection: limits.proxyProtocol is required");
    None
}

/// Whether the connection begins with the HTTP/2 preface. Peeks at the first bytes without consuming them.
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
