//! An HTTP/2 connection. Its streams are served by hyper.

mod frame_tracker;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use eventcast_runtime::Chain;
use hyper::{rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::frame_tracker::FrameTracker;
use super::{
    connection::{MAX_BUFFER, PREFACE, ServedConnection, hyper_head_bytes, retired, until_killed},
    deadline::Deadline,
    transport::{Observed, Observer},
};
use crate::{
    broker::Broker,
    http::{self, Answer},
    request::RequestContext,
    sockets::Connection,
};

/// The most concurrent streams of one connection. Browsers queue further requests without telling anyone.
const MAX_STREAMS: u32 = 512;
/// How long a connection may stay open after GOAWAY once it only waits for its client.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(2);
/// As [`GOAWAY_TIMEOUT`], if another connection waits for the socket.
const SHORT_GOAWAY_TIMEOUT: Duration = Duration::from_millis(200);

tokio::task_local! {
    /// The stream that the present task serves. Only this file knows it.
    static STREAM: StreamState;
}

/// What a stream's task and its service share.
#[derive(Clone, Default)]
struct StreamState {
    /// Resets the stream.
    kill: CancellationToken,
    /// The response is complete, and the client is to read it.
    answered: Arc<AtomicBool>,
}

/// Runs each stream in a task with a [`StreamState`]. Dropping the future of a stream resets it with CANCEL. The stream counts as a
/// request of its connection until its response is sent.
#[derive(Clone)]
struct StreamExecutor(Arc<Connection>);

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let stream = StreamState::default();
        let request = RequestGuard::new(Arc::clone(&self.0), Arc::clone(&stream.answered));
        tokio::spawn(async move {
            let _request = request;
            let kill = stream.kill.clone();
            let scoped = STREAM.scope(stream, async move {
                future.await;
            });
            until_killed(&kill, scoped).await;
        });
    }
}

/// Counts a request of the connection until its stream ends.
struct RequestGuard {
    connection: Arc<Connection>,
    answered: Arc<AtomicBool>,
}

impl RequestGuard {
    fn new(connection: Arc<Connection>, answered: Arc<AtomicBool>) -> Self {
        connection.request_began();
        Self { connection, answered }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.connection.request_ended(self.answered.load(Relaxed));
    }
}

/// Serves a connection until it ends. After `drain`, or when the connection is evicted, until its requests have ended.
pub(super) async fn serve(served: ServedConnection, broker: Arc<Broker>, drain: CancellationToken) {
    let ServedConnection { transport, peer, certificate, guard, first_head_by } = served;
    let connection = Arc::clone(guard.connection());
    let idle = Duration::from_secs(broker.config().limits.idle_seconds);
    let head_bytes = u32::try_from(hyper_head_bytes(&broker)).unwrap_or(u32::MAX);
    let (of_request, presented) = (Arc::clone(&connection), certificate.clone());
    let service = service_fn(move |request| {
        let (broker, connection) = (Arc::clone(&broker), Arc::clone(&of_request));
        let certificate = presented.clone();
        async move {
            // The executor runs every stream, and the service with it, in the scope.
            let StreamState { kill, answered } = STREAM.get();
            let context =
                RequestContext { peer, certificate, connection: Arc::clone(&connection), kill };
            let response = http::handle(broker, context, request).await;
            if !matches!(response.body(), Answer::Stream(_)) {
                answered.store(true, Relaxed);
                connection.answered();
            }
            Ok::<_, Infallible>(response.map(Answer::into_body))
        }
    });
    let mut builder = http2::Builder::new(StreamExecutor(Arc::clone(&connection)));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(head_bytes)
        .max_send_buf_size(MAX_BUFFER)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    let observer = Http2Observer::new(Arc::clone(&connection));
    let io = TokioIo::new(Observed { transport, observer });
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut deadline = Deadline::new(Arc::clone(&connection), idle, first_head_by);
    let leaving = async {
        tokio::select! {
            () = drain.cancelled() => {}
            () = connection.evicted() => {}
            () = retired(certificate.as_deref()) => {}
            () = poll_fn(|cx| deadline.poll(cx)) => {}
        }
    };
    let result = tokio::select! {
        biased; // what the connection has just done decides on its deadline
        result = serving.as_mut() => result,
        () = leaving => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                result = serving => result,
                () = goaway_timeout(&connection) => Ok(()),
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error = %Chain(&error), "connection ended with an error");
    }
}

/// Waits until a connection that was sent GOAWAY only waits for its client, and for as long as the client may take.
async fn goaway_timeout(connection: &Connection) {
    loop {
        sleep(if connection.is_evicted() { SHORT_GOAWAY_TIMEOUT } else { GOAWAY_TIMEOUT }).await;
        if connection.waits_for_client() {
            return;
        }
    }
}

/// Sees when request heads begin and end.
struct Http2Observer {
    connection: Arc<Connection>,
    /// Bytes of the connection preface that are still to come.
    preface_left: usize,
    frames: FrameTracker,
}

impl Http2Observer {
    fn new(connection: Arc<Connection>) -> Self {
        Self { connection, preface_left: PREFACE.len(), frames: FrameTracker::default() }
    }
}

impl Observer for Http2Observer {
    fn on_read(&mut self, bytes: &[u8]) {
        let of_preface = self.preface_left.min(bytes.len());
        self.preface_left -= of_preface;
        self.frames.read(&bytes[of_preface..]);
        if self.frames.is_within_head() {
            self.connection.head_began();
        } else {
            self.connection.head_ended();
        }
    }
}
