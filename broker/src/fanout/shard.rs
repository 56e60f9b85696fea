//! Shards: threads that write events to sockets themselves: those of HTTP/1.1 subscribers (docs/adr/0005), and all of HTTP/2
//! (docs/adr/0020).
//!
//! A subscriber is in one of two states. *Caught up*: it has seen everything up to the head of its channel in this shard, which is
//! its cursor; it is in the [`index`], and an event costs only what it delivers. *Catching up*: it has a cursor of its own and
//! reads pages or the ring with its own filter, in bounded steps, until it reaches the head. A full socket buffer moves it from the
//! first state to the second, and reaching the head moves it back.
//!
//! [`event_loop`] is the loop of one thread, [`channel_fanout`] writes to the caught-up subscribers of a channel, [`connection`] is
//! one subscriber, [`http2_connection`] is a connection that several may share, [`inbox`] receives from other threads,
//! [`timer_wheel`] keeps deadlines.

mod busy_time;
mod channel_fanout;
mod connection;
mod event_loop;
mod http2_connection;
mod http2_deadlines;
mod http2_response;
mod inbox;
mod index;
mod responder;
mod socket;
mod timer_wheel;
mod tls_socket;
mod transport;
mod unfiltered;

use std::{
    io,
    net::TcpStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use eventcast_runtime::{
    Chain,
    restarts::Restarts,
    supervise::{Supervisor, panicked},
};
use mio::Poll;
use prometheus::{Counter, IntCounter};
use tokio::{runtime::Handle, time::Instant};

use self::{
    event_loop::EventLoop,
    inbox::{Inbox, Message},
};
use super::Subscription;
use crate::{metrics::Metrics, sockets::ConnectionGuard, tls::TlsState};

pub(crate) use self::{
    http2_connection::{Http2Handoff, Http2Service, RequestTask},
    http2_deadlines::Http2Deadlines,
    http2_response::Http2Answer,
    responder::Responder,
};

/// How long a shard waits to restart after its first failure. The delay grows with each further one.
const FIRST_RESTART_DELAY: Duration = Duration::from_millis(100);

/// A subscriber of one shard, or an HTTP/2 connection of it: each kind has its own keys.
type Key = u32;

/// A stream and its socket, handed from hyper to a shard.
pub(crate) struct Handoff {
    /// Non-blocking.
    pub(crate) socket: TcpStream,
    /// The state of TLS, if the connection uses it.
    pub(crate) tls: Option<Box<TlsState>>,
    /// The head of the response, as it is written.
    pub(crate) head: Bytes,
    pub(crate) subscription: Subscription,
    pub(crate) guard: ConnectionGuard,
}

/// All shards of this process. Dropping it stops them.
pub(crate) struct Shards {
    inboxes: Vec<Arc<Inbox>>,
    serves_http1: bool,
}

impl Shards {
    /// Starts `count` threads, which load pages on the current runtime; with 0, one that serves HTTP/2 only.
    ///
    /// # Errors
    /// The system cannot create an epoll instance or a thread.
    pub(crate) fn start(
        count: usize,
        supervisor: &Supervisor,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let mut inboxes = Vec::with_capacity(count);
        for number in 0..count.max(1) {
            let poll = Poll::new()?;
            let inbox = Arc::new(Inbox::new(poll.registry())?);
            inboxes.push(Arc::clone(&inbox));
            let (runtime, restarts) = (Handle::current(), metrics.shard_restarts.clone());
            let busy_seconds = metrics.shard_busy(number);
            supervisor.thread(format!("shard-{number}"), move || {
                let _entered = runtime.enter();
                run(poll, &inbox, &restarts, &busy_seconds)
            })?;
        }
        Ok(Self { inboxes, serves_http1: count > 0 })
    }

    /// Whether streams of HTTP/1.1 go to the shards. If not, hyper keeps their sockets.
    pub(crate) fn serve_http1(&self) -> bool {
        self.serves_http1
    }

    /// Gives a stream of HTTP/1.1 to a shard.
    pub(crate) fn give(&self, handoff: Handoff) {
        if let Some(inbox) = self.least_loaded() {
            inbox.give(|load| Message::Join(Box::new(handoff), load));
        }
    }

    /// Gives an HTTP/2 connection to a shard.
    pub(crate) fn give_http2(&self, handoff: Http2Handoff) {
        if let Some(inbox) = self.least_loaded() {
            inbox.give(|load| Message::JoinHttp2(Box::new(handoff), load));
        }
    }

    /// The shard with the fewest connections and streams. Shards that wait to restart are chosen only if all do.
    fn least_loaded(&self) -> Option<&Arc<Inbox>> {
        self.inboxes.iter().min_by_key(|inbox| (inbox.is_backing_off(), inbox.connections()))
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.inboxes.iter().for_each(|inbox| inbox.push(Message::Stop));
    }
}

/// A shard failed too often.
#[derive(Debug, thiserror::Error)]
#[error("it failed too often within a minute; the last failure: {0}")]
struct TooManyFailures(String);

/// Runs a shard until it receives [`Message::Stop`].
fn run(
    mut poll: Poll,
    inbox: &Arc<Inbox>,
    restarts: &IntCounter,
    busy_seconds: &Counter,
) -> Result<(), TooManyFailures> {
    run_with_restarts(inbox, restarts, || EventLoop::new(inbox).run(&mut poll, busy_seconds))
}

/// Calls `serve` until it returns without an error. An error or a panic is a bug of ours: the subscribers of the shard lose their
/// connections and reconnect. The shard is restarted after a delay, unless it has failed too often.
fn run_with_restarts(
    inbox: &Inbox,
    failures: &IntCounter,
    mut serve: impl FnMut() -> io::Result<()>,
) -> Result<(), TooManyFailures> {
    let mut restarts = Restarts::new(FIRST_RESTART_DELAY);
    loop {
        let why = match catch_unwind(AssertUnwindSafe(&mut serve)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Chain(&error).to_string(),
            Err(panic) => panicked(&*panic),
        };
        inbox.set_backing_off(true);
        failures.inc();
        let Some(delay) = restarts.after_failure(Instant::now()) else {
            return Err(TooManyFailures(why));
        };
        tracing::error!(
            reason = why,
            ?delay,
            "shard failed; its subscribers reconnect, and it restarts after the delay"
        );
        thread::sleep(delay);
        inbox.set_backing_off(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_restarts_after_a_delay_until_it_fails_too_often() {
        let poll = Poll::new().unwrap();
        let inbox = Inbox::new(poll.registry()).unwrap();
        let failures = IntCounter::new("failures", "of shards").unwrap();
        let began = Instant::now();
        let mut lives = 0;
        let healed = run_with_restarts(&inbox, &failures, || {
            assert!(!inbox.is_backing_off());
            lives += 1;
            match lives {
                1 => Err(io::Error::other("no epoll")),
                2 => std::panic::resume_unwind(Box::new("a fault")),
                _ => Ok(()),
            }
        });
        assert!(healed.is_ok());
        assert_eq!((lives, failures.get()), (3, 2));
        assert!(
            began.elapsed() >= FIRST_RESTART_DELAY * 3,
            "without a delay: {:?}",
            began.elapsed()
        );

        let lost = run_with_restarts(&inbox, &failures, || Err(io::Error::other("no epoll")));
        assert!(lost.unwrap_err().to_string().ends_with("the last failure: no epoll"));
        assert!(inbox.is_backing_off(), "connections go to other shards");
    }
}
