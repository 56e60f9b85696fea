//! A connection of HTTP/1.1. A stream's socket is taken from hyper and given to a shard: the service hands the answer to the
//! connection's driver and never returns; the driver, who owns hyper's connection, takes it apart.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use eventcast_runtime::Chain;
use hyper::{
    HeaderMap, Request, Response, Version, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{MAX_BUFFER, hyper_head_bytes, killable},
    deadline::Deadline,
    linger::{self, LINGER, SHORT_LINGER},
    refusal,
    wire::{Progress, Wire},
};
use crate::{
    broker::Broker,
    fanout::{Opening, shard::Taken},
    http::{self, Answer, Body},
    sockets::{Held, Phase, Remote},
};

/// Where the service leaves a stream for the driver.
#[derive(Default)]
struct Handover {
    stream: Mutex<Option<(HeaderMap, Box<Opening>)>>,
    progress: Arc<Progress>,
}

/// What a connection has come to.
enum End {
    /// A shard takes its socket.
    Stream(HeaderMap, Box<Opening>),
    /// It is to be closed after these bytes.
    Close(Bytes),
    /// As `Close`, and at once: another one waits for the socket.
    Leave(Bytes),
    /// hyper has ended it.
    Ended(hyper::Result<()>),
}

/// Serves `socket` until it ends or a shard has it.
pub(super) async fn serve(
    socket: TcpStream,
    remote: Remote,
    broker: Arc<Broker>,
    drain: CancellationToken,
    held: Held,
) {
    let handover = Arc::new(Handover::default());
    let connection = Arc::clone(&remote.connection);
    let wire = Wire::new(socket, Arc::clone(&connection), Arc::clone(&handover.progress));
    let idle = Duration::from_secs(broker.config().limits.idle_seconds);
    let mut deadline = Deadline::new(Arc::clone(&connection), idle);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Its time would run while a connection is idle, too: the deadline of ours tells the two apart.
        .header_read_timeout(None)
        .max_header_size(hyper_head_bytes(&broker))
        .max_buf_size(MAX_BUFFER.max(hyper_head_bytes(&broker)));
    let (to, of, from) = (Arc::clone(&handover), Arc::clone(&broker), remote.clone());
    let service = service_fn(move |request| {
        Box::pin(answer(Arc::clone(&of), from.clone(), request, Arc::clone(&to)))
    });
    killable(async move {
        let mut serving = builder.serve_connection(TokioIo::new(wire), service);
        let mut leaving = std::pin::pin!(async {
            tokio::select! {
                () = drain.cancelled() => {}
                () = connection.told_to_leave() => {}
            }
        });
        let mut told = false;
        let end = poll_fn(|cx| {
            if !told && leaving.as_mut().poll(cx).is_ready() {
                told = true;
                Pin::new(&mut serving).graceful_shutdown();
            }
            let polled = serving.poll_without_shutdown(cx);
            if let Some((headers, opening)) = handover.stream.lock().take() {
                return Poll::Ready(End::Stream(headers, opening));
            }
            if let Poll::Ready(result) = polled {
                return Poll::Ready(End::Ended(result));
            }
            // Half a head, or an answer that is not read, keeps hyper from ending the connection.
            if connection.is_leaving() && connection.waits_for_client() {
                let begun = connection.phase() == Phase::Head;
                let last = if begun { refusal::of_connection() } else { Bytes::new() };
                return Poll::Ready(End::Leave(last));
            }
            deadline.poll(cx).map(|()| match connection.phase() {
                Phase::Head => End::Close(refusal::of_slow_head()),
                _ => End::Close(Bytes::new()),
            })
        })
        .await;
        let socket = serving.into_parts().io.into_inner().into_inner();
        match end {
            End::Stream(headers, opening) => give(&broker, socket, &headers, *opening, held),
            End::Close(last) => linger::close(socket, &last, LINGER).await,
            End::Leave(last) => linger::close(socket, &last, SHORT_LINGER).await,
            End::Ended(Ok(())) => shut_down(socket).await,
            End::Ended(Err(error)) => {
                tracing::debug!(peer = %remote.peer, error = %Chain(&error), "a connection ended");
                if error.is_parse() {
                    linger::close(socket, &[], LINGER).await;
                }
            }
        }
    })
    .await;
}

async fn answer(
    broker: Arc<Broker>,
    remote: Remote,
    request: Request<Incoming>,
    to: Arc<Handover>,
) -> Result<Response<Body>, Infallible> {
    let progress = &to.progress;
    progress.answered.store(false, Relaxed);
    remote.connection.request_began();
    let chunked = request.version() == Version::HTTP_11;
    let shards = chunked && !broker.shards.is_empty();
    let connection = Arc::clone(&remote.connection);
    let (head, answer) = http::handle(broker, remote, request).await.into_parts();
    match answer {
        Answer::Stream(opening) if shards && progress.flushed.load(Relaxed) => {
            *to.stream.lock() = Some((head.headers, opening));
            std::future::pending().await
        }
        answer => {
            connection.answered();
            progress.answered.store(true, Relaxed);
            Ok(Response::from_parts(head, answer.into_body()))
        }
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
