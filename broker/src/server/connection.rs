//! One connection: the PROXY protocol where it is asked for, then HTTP/1.1 or, by its preface, HTTP/2; and a switch to end one stream
//! whose reader does not read.

use std::{future::Future, net::IpAddr, sync::Arc, time::Duration};

use eventcast_crds::config::ProxyProtocol;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{one, proxy_header, two};
use crate::{
    broker::Broker,
    client::is_trusted,
    sockets::{Held, Remote},
};

/// How a connection of HTTP/2 begins (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A request's head must arrive within this, from its first byte; the first one's first byte, too.
pub(super) const HEAD: Duration = Duration::from_secs(10);
/// hyper's buffer of unsent bytes for a connection of HTTP/1.1.
pub(super) const MAX_BUFFER: usize = 64 << 10;

tokio::task_local! {
    static KILL: CancellationToken;
}

/// Ends the stream that the present request is answered on: in HTTP/1.1 its connection, in HTTP/2 only the stream.
/// A body that is not polled cannot end itself.
pub(crate) fn kill_switch() -> CancellationToken {
    KILL.try_with(Clone::clone).unwrap_or_default()
}

pub(super) async fn killable(future: impl Future<Output = ()>) {
    let kill = CancellationToken::new();
    let until = kill.clone();
    tokio::select! {
        () = KILL.scope(kill, future) => {}
        () = until.cancelled() => {}
    }
}

/// Bytes of a head that hyper reads. Ours is the limit; what is not far beyond it is read all the same, and gets an answer that
/// a page can read.
pub(super) fn hyper_head_bytes(broker: &Broker) -> usize {
    2 * broker.config().limits.head_bytes + (8 << 10)
}

/// Serves `socket` until it ends; after `drain`, until what is under way has ended.
pub(super) async fn serve(
    mut socket: TcpStream,
    broker: Arc<Broker>,
    drain: CancellationToken,
    held: Held,
) {
    let connection = Arc::clone(held.connection());
    let begun = tokio::select! {
        begun = timeout(HEAD, begin(&mut socket, &broker, connection.peer())) => begun,
        () = connection.told_to_leave() => return,
        () = drain.cancelled() => return,
    };
    let Ok(Some((peer, http2))) = begun else { return };
    let remote = Remote { peer, connection };
    if http2 {
        two::serve(socket, remote, broker, drain).await;
    } else {
        one::serve(socket, remote, broker, drain, held).await;
    }
}

/// The client's address and whether it speaks HTTP/2.
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

/// limits.proxyProtocol is `required`, and there is none that could be believed.
fn refuse<T>(broker: &Broker, peer: IpAddr, why: &str) -> Option<T> {
    broker.metrics.connections_refused("proxy-protocol");
    tracing::debug!(%peer, why, "closing a connection: limits.proxyProtocol is required");
    None
}

/// Looks at the first bytes without taking them.
pub(super) async fn is_http2(socket: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let n = socket.peek(&mut first).await?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if first[..n] != PREFACE[..n] {
            return Ok(false);
        }
        if n == PREFACE.len() {
            return Ok(true);
        }
        // A part of the preface stays readable: the socket cannot tell when more has come.
        sleep(Duration::from_millis(5)).await;
    }
}
