//! Shards: threads that write events to the sockets of HTTP/1.1 themselves (docs/adr/0005).
//!
//! A subscriber is in one of two states. *Caught up*: it has seen everything up to the head of its channel in this shard; it
//! stands in the [`index`], its cursor is that head by definition, and an event costs only what it delivers. *Catching up*: it
//! has a cursor of its own and reads pages or ring with its own filter, in bounded steps, until it reaches the head. A socket
//! that blocks moves it from the first state to the second; reaching the head moves it back.
//!
//! [`engine`] is the loop of one thread, [`live`] what a channel's caught-up subscribers are written, [`seat`] one socket,
//! [`roll`] those without a filter, [`inbox`] the way in from other threads, [`wheel`] the deadlines.

mod engine;
mod inbox;
mod index;
mod live;
mod roll;
mod seat;
mod wheel;

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
use prometheus::IntCounter;
use tokio::{runtime::Handle, time::Instant};

use self::{
    engine::Engine,
    inbox::{Inbox, Message},
};
use super::Opening;
use crate::sockets::Held;

/// A shard that failed rests for so long before it serves again, and longer each time.
const FIRST_REST: Duration = Duration::from_millis(100);

/// A subscriber of one shard.
type Key = u32;

/// A stream whose socket a shard takes over.
pub(crate) struct Taken {
    /// Non-blocking.
    pub(crate) socket: TcpStream,
    /// The answer's head, as it goes out.
    pub(crate) head: Bytes,
    pub(crate) opening: Opening,
    pub(crate) held: Held,
}

/// All shards of this process; they end when it is dropped.
pub(crate) struct Shards {
    inboxes: Vec<Arc<Inbox>>,
}

impl Shards {
    /// Starts `count` threads; they read pages on the present runtime. `restarts` counts their failures.
    ///
    /// # Errors
    /// The system gives no epoll or no thread.
    pub(crate) fn start(
        count: usize,
        supervisor: &Supervisor,
        restarts: &IntCounter,
    ) -> io::Result<Self> {
        let mut inboxes = Vec::with_capacity(count);
        for number in 0..count {
            let poll = Poll::new()?;
            let inbox = Arc::new(Inbox::new(poll.registry())?);
            inboxes.push(Arc::clone(&inbox));
            let (runtime, restarts) = (Handle::current(), restarts.clone());
            supervisor.thread(format!("shard-{number}"), move || {
                let _entered = runtime.enter();
                run(poll, &inbox, &restarts)
            })?;
        }
        Ok(Self { inboxes })
    }

    /// Whether there are none, and hyper keeps every socket.
    pub(crate) fn is_empty(&self) -> bool {
        self.inboxes.is_empty()
    }

    /// Gives a stream to the shard that has the fewest; to one that rests after a failure, and has none, only if all do.
    pub(crate) fn give(&self, taken: Taken) {
        let fewest = self.inboxes.iter().min_by_key(|inbox| (inbox.rests(), inbox.seats()));
        if let Some(inbox) = fewest {
            inbox.give(taken);
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.inboxes.iter().for_each(|inbox| inbox.push(Message::Stop));
    }
}

/// A shard that failed again and again.
#[derive(Debug, thiserror::Error)]
#[error("it failed too often within a minute; the last time: {0}")]
struct FailsAgain(String);

/// Runs a shard until it is told to stop.
fn run(mut poll: Poll, inbox: &Arc<Inbox>, restarts: &IntCounter) -> Result<(), FailsAgain> {
    keep_up(inbox, restarts, || Engine::new(inbox).run(&mut poll))
}

/// Calls `life` until it ends in good order. After an error or a panic, which is a fault of ours, the subscribers of the shard have
/// lost their sockets and reconnect; the shard rests and serves new ones, unless it has failed too often.
fn keep_up(
    inbox: &Inbox,
    failures: &IntCounter,
    mut life: impl FnMut() -> io::Result<()>,
) -> Result<(), FailsAgain> {
    let mut restarts = Restarts::new(FIRST_REST);
    loop {
        let why = match catch_unwind(AssertUnwindSafe(&mut life)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Chain(&error).to_string(),
            Err(panic) => panicked(&*panic),
        };
        inbox.set_rests(true);
        failures.inc();
        let Some(rest) = restarts.after_failure(Instant::now()) else {
            return Err(FailsAgain(why));
        };
        tracing::error!(why, ?rest, "a shard failed: its subscribers reconnect");
        thread::sleep(rest);
        inbox.set_rests(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_fails_rests_and_one_that_fails_again_and_again_is_given_up() {
        let poll = Poll::new().unwrap();
        let inbox = Inbox::new(poll.registry()).unwrap();
        let failures = IntCounter::new("failures", "of shards").unwrap();
        let began = Instant::now();
        let mut lives = 0;
        let healed = keep_up(&inbox, &failures, || {
            assert!(!inbox.rests());
            lives += 1;
            match lives {
                1 => Err(io::Error::other("no epoll")),
                2 => std::panic::resume_unwind(Box::new("a fault")),
                _ => Ok(()),
            }
        });
        assert!(healed.is_ok());
        assert_eq!((lives, failures.get()), (3, 2));
        assert!(began.elapsed() >= FIRST_REST * 3, "it does not rest: {:?}", began.elapsed());

        let lost = keep_up(&inbox, &failures, || Err(io::Error::other("no epoll")));
        assert!(lost.unwrap_err().to_string().ends_with("the last time: no epoll"));
        assert!(inbox.rests(), "nobody is given to it any more");
    }
}
