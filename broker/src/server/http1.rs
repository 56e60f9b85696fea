//! Serves an HTTP/1.1 connection with hyper. When the response is a stream, the socket is taken from hyper and handed to a shard.
//!
//! For that, the service returns the stream as its error: that is the only result after which hyper writes nothing and returns the
//! connection, which is then taken apart.

mod observer;

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
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
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use self::observer::{Http1Observer, Progress};
use super::{
    connection::{
        MAX_BUFFER, ServedConnection, now_as_http_date, parser_head_bytes, retired, until_killed,
    },
    deadline::Deadline,
    linger::{self, LINGER, SHORT_LINGER},
    refusal,
    transport::{Observed, Transport},
};
use crate::{
    broker::Broker,
    fanout::{Subscription, shard::Handoff},
    http::{self, Answer, Body, RequestBody},
    request::RequestContext,
    sockets::Phase,
};

/// A stream that the service takes away from hyper.
struct Detached(Mutex<Option<Stream>>);

struct Stream {
    headers: HeaderMap,
    subscription: Box<Subscription>,
}

impl Detached {
    fn new(headers: HeaderMap, subscription: Box<Subscription>) -> Self {
        Self(Mutex::new(Some(Stream { headers, subscription })))
    }

    /// The stream that ended hyper's part of the connection, if one did.
    fn taken_from(error: &hyper::Error) -> Option<Stream> {
        error.source()?.downcast_ref::<Self>()?.0.lock().take()
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Detached")
    }
}

impl fmt::Display for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream was detached from hyper")
    }
}

impl Error for Detached {}

/// How hyper's part of a connection ended.
enum End {
    /// The connection is to be closed after these bytes.
    Close(Bytes),
    /// As `Close`, but without delay: another connection waits for the socket.
    Evicted(Bytes),
    /// hyper returned: the client has closed the connection, there was an error, or a stream was detached.
    Returned(hyper::Result<()>),
}

/// Serves a connection until it ends or is handed to a shard.
pub(super) async fn serve(served: ServedConnection, broker: Arc<Broker>, drain: CancellationToken) {
    let ServedConnection { transport, peer, certificate, guard, first_head_by } = served;
    let connection = Arc::clone(guard.connection());
    let progress = Progress::new();
    let metrics = Arc::clone(&broker.metrics);
    let observer = Http1Observer::new(
        Arc::clone(&connection),
        Arc::clone(&progress),
        Arc::clone(&metrics),
        peer,
    );
    let idle = Duration::from_secs(broker.config().limits.idle_seconds);
    let mut deadline = Deadline::new(Arc::clone(&connection), idle, first_head_by);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // hyper's timeout would also run while the connection is idle. `Deadline` distinguishes the two.
        .header_read_timeout(None)
        .max_header_size(parser_head_bytes(&broker))
        .max_buf_size(MAX_BUFFER.max(parser_head_bytes(&broker)));
    let kill = CancellationToken::new();
    let context = RequestContext {
        peer,
        certificate: certificate.clone(),
        connection: Arc::clone(&connection),
        kill: kill.clone(),
    };
    let shared = Arc::clone(&broker);
    let service = service_fn(move |request| {
        Box::pin(answer(Arc::clone(&shared), context.clone(), request, Arc::clone(&progress)))
    });
    until_killed(&kill, async move {
        let io = TokioIo::new(Observed { transport, observer });
        let mut serving = builder.serve_connection(io, service);
        let mut leaving = std::pin::pin!(async {
            tokio::select! {
                () = drain.cancelled() => {}
                () = connection.evicted() => {}
                () = connection.asked_to_leave() => {}
                () = retired(certificate.as_deref()) => {}
            }
        });
        let mut shutting_down = false;
        let end = poll_fn(|cx| {
            if !shutting_down && leaving.as_mut().poll(cx).is_ready() {
                shutting_down = true;
                Pin::new(&mut serving).graceful_shutdown();
            }
            if let Poll::Ready(result) = serving.poll_without_shutdown(cx) {
                return Poll::Ready(End::Returned(result));
            }
            // Half a head, or an answer that is not read, keeps hyper from ending the connection.
            if connection.is_evicted() && connection.waits_for_client() {
                let begun = connection.phase() == Phase::Head;
                let last = if begun { refusal::of_connection(&metrics, peer) } else { Bytes::new() };
                return Poll::Ready(End::Evicted(last));
            }
            deadline.poll(cx).map(|()| match connection.phase() {
                Phase::Head => End::Close(refusal::of_slow_head(&metrics, peer)),
                _ => End::Close(Bytes::new()),
            })
        })
        .await;
        let transport = serving.into_parts().io.into_inner().transport;
        match end {
            End::Close(last) => linger::close(transport, &last, LINGER).await,
            End::Evicted(last) => linger::close(transport, &last, SHORT_LINGER).await,
            End::Returned(Ok(())) => shut_down(transport).await,
            End::Returned(Err(error)) => {
                if let Some(Stream { headers, subscription }) = Detached::taken_from(&error) {
                    let subscription = *subscription;
                    match transport.into_socket() {
                        Ok((socket, tls)) => {
                            let head = head(&headers);
                            broker.shards.give(Handoff { socket, tls, head, subscription, guard });
                        }
                        Err(error) => {
                            tracing::warn!(%error, "failed to take a socket from the runtime");
                        }
                    }
                    return;
                }
                tracing::debug!(client = %peer, error = %Chain(&error), "connection ended with an error");
                if error.is_parse() {
                    linger::close(transport, &[], LINGER).await;
                }
            }
        }
    })
    .await;
}

async fn answer(
    broker: Arc<Broker>,
    context: RequestContext,
    request: Request<Incoming>,
    progress: Arc<Progress>,
) -> Result<Response<Body>, Detached> {
    progress.request_began();
    context.connection.request_began();
    let chunked = request.version() == Version::HTTP_11;
    let shards = chunked && broker.shards.serve_http1();
    let connection = Arc::clone(&context.connection);
    let (head, answer) =
        http::handle(broker, context, request.map(RequestBody::Hyper)).await.into_parts();
    match answer {
        Answer::Stream(subscription) if shards && progress.is_flushed() => {
            Err(Detached::new(head.headers, subscription))
        }
        answer => {
            connection.answered();
            progress.answered();
            Ok(Response::from_parts(head, answer.into_body()))
        }
    }
}

/// Closes the sending side, as hyper does at the end of a connection.
async fn shut_down(mut transport: Transport) {
    if let Err(error) = transport.shutdown().await {
        tracing::trace!(%error, "the client closed the socket first");
    }
}

/// The head of a 200 response that ends with its connection (RFC 9112, sections 4, 6.1 and 9.6).
fn head(headers: &HeaderMap) -> Bytes {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"date: ");
    out.extend_from_slice(now_as_http_date().as_bytes());
    out.extend_from_slice(b"\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    out.into()
}
