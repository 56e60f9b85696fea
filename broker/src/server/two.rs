//! A connection of HTTP/2.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use eventcast_runtime::Chain;
use hyper::{rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{MAX_BUFFER, PREFACE, hyper_head_bytes, killable},
    deadline::Deadline,
    frames::Frames,
};
use crate::{
    broker::Broker,
    http::{self, Answer},
    sockets::{Connection, Remote},
};

/// Streams of one connection: browsers queue silently beyond it.
const MAX_STREAMS: u32 = 512;
/// How long a connection that was told to go away may take, once it waits for its client alone; shorter where another one waits for
/// its socket.
const GOODBYE: Duration = Duration::from_secs(2);
const SHORT_GOODBYE: Duration = Duration::from_millis(200);

tokio::task_local! {
    /// Whether the answer of the present stream is complete.
    static ANSWERED: Arc<AtomicBool>;
}

/// Runs each stream in its own scope: dropping its future resets the stream with CANCEL. The stream is a request of its connection
/// until its answer has gone.
#[derive(Clone)]
struct StreamExecutor(Arc<Connection>);

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let request = UnderWay::new(Arc::clone(&self.0));
        tokio::spawn(async move {
            let answered = Arc::clone(&request.answered);
            let _request = request;
            killable(ANSWERED.scope(answered, async move {
                future.await;
            }))
            .await;
        });
    }
}

struct UnderWay {
    connection: Arc<Connection>,
    answered: Arc<AtomicBool>,
}

impl UnderWay {
    fn new(connection: Arc<Connection>) -> Self {
        connection.request_began();
        Self { connection, answered: Arc::default() }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.connection.request_ended(self.answered.load(Relaxed));
    }
}

/// Serves `socket` until it ends; after `drain`, or when it is to make room, until what is under way has ended.
pub(super) async fn serve(
    socket: TcpStream,
    remote: Remote,
    broker: Arc<Broker>,
    drain: CancellationToken,
) {
    let idle = Duration::from_secs(broker.config().limits.idle_seconds);
    let head_bytes = u32::try_from(hyper_head_bytes(&broker)).unwrap_or(u32::MAX);
    let connection = Arc::clone(&remote.connection);
    let from = remote.clone();
    let service = service_fn(move |request| {
        let (broker, remote) = (Arc::clone(&broker), from.clone());
        async move {
            let connection = Arc::clone(&remote.connection);
            let response = http::handle(broker, remote, request).await;
            if !matches!(response.body(), Answer::Stream(_)) {
                let flagged = ANSWERED.try_with(|answered| answered.store(true, Relaxed));
                if flagged.is_ok() {
                    connection.answered();
                }
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
    let wire =
        Wire { socket, connection: Arc::clone(&connection), preface: 0, frames: Frames::default() };
    let mut serving = pin!(builder.serve_connection(TokioIo::new(wire), service));
    let mut deadline = Deadline::new(Arc::clone(&connection), idle);
    let going = async {
        tokio::select! {
            () = drain.cancelled() => {}
            () = connection.told_to_leave() => {}
            () = poll_fn(|cx| deadline.poll(cx)) => {}
        }
    };
    let result = tokio::select! {
        biased; // what the connection has just done decides on its deadline
        result = serving.as_mut() => result,
        () = going => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                result = serving => result,
                () = had_its_time(&connection) => Ok(()),
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(peer = %remote.peer, error = %Chain(&error), "a connection ended");
    }
}

/// Waits until a connection that was told to go away has had its time.
async fn had_its_time(connection: &Connection) {
    loop {
        sleep(if connection.is_leaving() { SHORT_GOODBYE } else { GOODBYE }).await;
        if connection.waits_for_client() {
            return;
        }
    }
}

/// A socket whose heads are seen.
struct Wire {
    socket: TcpStream,
    connection: Arc<Connection>,
    /// Bytes of the preface that were read.
    preface: usize,
    frames: Frames,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buf);
        let came = &buf.filled()[before..];
        if !came.is_empty() {
            let of_preface = (PREFACE.len() - this.preface).min(came.len());
            this.preface += of_preface;
            this.frames.read(&came[of_preface..]);
            if this.frames.is_within_head() {
                this.connection.head_began();
            } else {
                this.connection.head_ended();
            }
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
