//! A connection of HTTP/1.1. A stream's socket is taken from hyper and given to a shard: the service hands the answer to the
//! connection's driver and never returns; the driver, who owns hyper's connection, takes it apart.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed},
    task::Poll,
};

use bytes::Bytes;
use eventcast_crds::process::Chain;
use hyper::{
    HeaderMap, Request, Response, Version, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{HEAD, MAX_BUFFER, MAX_HEAD_BYTES, killable},
    wire::Wire,
};
use crate::{
    broker::Broker,
    fanout::{Held, Opening, shard::Taken},
    http::{self, Answer, Body},
};

/// Where the service leaves a stream for the driver.
#[derive(Default)]
struct Handover {
    stream: Mutex<Option<(HeaderMap, Box<Opening>)>>,
    /// hyper has written all it had: nothing is lost if the socket is taken now.
    flushed: Arc<AtomicBool>,
}

/// Serves `socket` until it ends or a shard has it.
pub(super) async fn serve(
    socket: TcpStream,
    peer: IpAddr,
    broker: Arc<Broker>,
    drain: CancellationToken,
    held: Held,
) {
    let handover = Arc::new(Handover::default());
    let wire = Wire::new(socket, Arc::clone(&handover.flushed));
    let (to, of) = (Arc::clone(&handover), Arc::clone(&broker));
    let service = service_fn(move |request| {
        Box::pin(answer(Arc::clone(&of), peer, request, Arc::clone(&to)))
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER);
    killable(async move {
        let mut connection = builder.serve_connection(TokioIo::new(wire), service);
        let mut draining = std::pin::pin!(drain.cancelled());
        let mut told = false;
        let taken = poll_fn(|cx| {
            if !told && draining.as_mut().poll(cx).is_ready() {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            let polled = connection.poll_without_shutdown(cx);
            if let Some(stream) = handover.stream.lock().take() {
                return Poll::Ready(Ok(Some(stream)));
            }
            polled.map_ok(|()| None)
        })
        .await;
        let socket = connection.into_parts().io.into_inner().into_inner();
        match taken {
            Ok(Some((headers, opening))) => give(&broker, socket, &headers, *opening, held),
            Ok(None) => shut_down(socket).await,
            Err(error) => tracing::debug!(%peer, error = %Chain(&error), "a connection ended"),
        }
    })
    .await;
}

async fn answer(
    broker: Arc<Broker>,
    peer: IpAddr,
    request: Request<Incoming>,
    to: Arc<Handover>,
) -> Result<Response<Body>, Infallible> {
    let chunked = request.version() == Version::HTTP_11;
    let shards = chunked && !broker.shards.is_empty();
    let (head, answer) = http::handle(broker, peer, request).await.into_parts();
    match answer {
        Answer::Stream(opening) if shards && to.flushed.load(Relaxed) => {
            *to.stream.lock() = Some((head.headers, opening));
            std::future::pending().await
        }
        answer => Ok(Response::from_parts(head, answer.into_body())),
    }
}

fn give(broker: &Broker, socket: TcpStream, headers: &HeaderMap, opening: Opening, held: Held) {
    match socket.into_std() {
        Ok(socket) => broker.shards.give(Taken { socket, head: head(headers), opening, held }),
        Err(error) => tracing::warn!(%error, "cannot take a socket from the runtime"),
    }
}

/// Waits for nobody: what hyper does at the end of a connection.
async fn shut_down(mut socket: TcpStream) {
    if let Err(error) = socket.shutdown().await {
        tracing::trace!(%error, "a socket was closed before us");
    }
}

/// The head of an answer 200, which ends with its connection (RFC 9112, sections 4, 6.1 and 9.6).
fn head(headers: &HeaderMap) -> Bytes {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let now = jiff::Timestamp::now();
    if let Ok(date) = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now) {
        out.extend_from_slice(format!("date: {date}\r\n").as_bytes());
    }
    out.extend_from_slice(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    out.into()
}
