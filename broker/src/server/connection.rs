//! One connection: HTTP/1.1 or, by its preface, HTTP/2; and a switch to end one stream whose reader does not read.

use std::{convert::Infallible, future::Future, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use eventcast_crds::process::Chain;
use hyper::{rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::one;
use crate::{
    broker::Broker,
    fanout::Held,
    http::{self, Answer},
};

/// How a connection of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A request's head must arrive within this.
pub(super) const HEAD: Duration = Duration::from_secs(10);
pub(super) const MAX_HEAD_BYTES: usize = 16 << 10;
/// hyper's buffer of unsent bytes for a connection of HTTP/1.1.
pub(super) const MAX_BUFFER: usize = 64 << 10;
/// Streams of one connection of HTTP/2: browsers queue silently beyond it.
const MAX_STREAMS: u32 = 512;

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

/// Runs each HTTP/2 stream in its own scope: dropping its future resets the stream with CANCEL.
#[derive(Clone)]
struct StreamExecutor;

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        tokio::spawn(killable(async move {
            future.await;
        }));
    }
}

/// Serves `socket` until it ends; after `drain`, until what is under way has ended.
pub(super) async fn serve(
    socket: TcpStream,
    peer: IpAddr,
    broker: Arc<Broker>,
    drain: CancellationToken,
    held: Held,
) {
    let http2 = tokio::select! {
        looked = timeout(HEAD, is_http2(&socket)) => match looked {
            Ok(Ok(http2)) => http2,
            Ok(Err(_)) | Err(_) => return,
        },
        () = drain.cancelled() => return,
    };
    if http2 {
        serve_http2(socket, peer, broker, drain).await;
    } else {
        one::serve(socket, peer, broker, drain, held).await;
    }
}

async fn serve_http2(
    socket: TcpStream,
    peer: IpAddr,
    broker: Arc<Broker>,
    drain: CancellationToken,
) {
    let service = service_fn(move |request| {
        let broker = Arc::clone(&broker);
        async move {
            let response = http::handle(broker, peer, request).await;
            Ok::<_, Infallible>(response.map(Answer::into_body))
        }
    });
    let mut builder = http2::Builder::new(StreamExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .max_send_buf_size(MAX_BUFFER)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error = %Chain(&error), "a connection ended");
    }
}

/// Looks at the first bytes without taking them.
async fn is_http2(socket: &TcpStream) -> std::io::Result<bool> {
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
