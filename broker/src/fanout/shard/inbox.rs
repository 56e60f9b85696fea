//! The inbox of a shard: new connections and wake-ups from other threads. The thread of the shard is woken only if it sleeps.

use std::{
    io,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Wake, Waker},
};

use eventcast_runtime::Chain;
use mio::{Registry, Token};
use parking_lot::Mutex;

use super::{Handoff, Http2Handoff, Key, http2_response::Response};

/// The token of the inbox itself.
pub(super) const INBOX: Token = Token(usize::MAX);

/// A message to a shard.
pub(super) enum Message {
    /// A stream of HTTP/1.1 to serve.
    Join(Box<Handoff>, LoadGuard),
    /// An HTTP/2 connection to serve.
    JoinHttp2(Box<Http2Handoff>, LoadGuard),
    /// The answer to a request of an HTTP/2 connection.
    Respond(Box<Response>),
    Wake(Wakeup),
    /// The process ends.
    Stop,
}

/// What a wake-up is for: a key, and the generation that it was made for, since keys are reused.
#[derive(Clone, Copy)]
pub(super) enum Wakeup {
    /// A page for this connection was loaded, or its session is to end.
    Connection(Key, u32),
    /// The log of this channel has advanced.
    Channel(u32, u32),
    /// A handler has read from a request body of this HTTP/2 connection.
    BodyRead(Key, u32),
    /// This HTTP/2 connection is to serve no further requests.
    Leave(Key, u32),
}

/// Messages to a shard. Their number is bounded by its connections, requests and channels: each has at most a few.
pub(super) struct Inbox {
    messages: Mutex<Vec<Message>>,
    asleep: AtomicBool,
    waker: mio::Waker,
    connections: Arc<AtomicUsize>,
    /// Whether the shard waits to restart after a failure.
    backing_off: AtomicBool,
}

/// Counts a connection in the load of its shard until it is dropped: in the inbox, in the event loop, or with a shard that panics.
pub(super) struct LoadGuard(Arc<AtomicUsize>);

impl LoadGuard {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Inbox {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        Ok(Self {
            messages: Mutex::default(),
            asleep: AtomicBool::new(false),
            waker: mio::Waker::new(registry, INBOX)?,
            connections: Arc::default(),
            backing_off: AtomicBool::new(false),
        })
    }

    pub(super) fn push(&self, message: Message) {
        self.messages.lock().push(message);
        if self.asleep.swap(false, SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(error = %Chain(&error), "cannot wake a shard");
        }
    }

    /// Sends the message that gives the shard something to serve.
    pub(super) fn give(&self, message: impl FnOnce(LoadGuard) -> Message) {
        self.push(message(self.load()));
    }

    /// Counts one more in the load of the shard.
    pub(super) fn load(&self) -> LoadGuard {
        LoadGuard::new(&self.connections)
    }

    /// Connections and streams that the shard serves, or was given.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Whether the shard waits to restart after a failure. Meanwhile other shards should get the connections.
    pub(super) fn is_backing_off(&self) -> bool {
        self.backing_off.load(Relaxed)
    }

    pub(super) fn set_backing_off(&self, backing_off: bool) {
        self.backing_off.store(backing_off, Relaxed);
    }

    /// Announces that the shard is about to sleep. Returns false if there are messages, and it must not.
    pub(super) fn prepare_sleep(&self) -> bool {
        self.asleep.store(true, SeqCst);
        // A thread that pushed before has not woken the shard.
        let empty = self.messages.lock().is_empty();
        if !empty {
            self.asleep.store(false, SeqCst);
        }
        empty
    }

    /// Moves all messages into `into`, which must be empty. The shard is awake.
    pub(super) fn take(&self, into: &mut Vec<Message>) {
        self.asleep.store(false, SeqCst);
        std::mem::swap(&mut *self.messages.lock(), into);
    }
}

/// Wakes a shard through its inbox.
struct ShardWaker {
    inbox: Arc<Inbox>,
    wakeup: Wakeup,
}

/// A waker that sends `wakeup` to the shard of `inbox`.
pub(super) fn shard_waker(inbox: &Arc<Inbox>, wakeup: Wakeup) -> Waker {
    Arc::new(ShardWaker { inbox: Arc::clone(inbox), wakeup }).into()
}

impl Wake for ShardWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inbox.push(Message::Wake(self.wakeup));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        thread,
    };

    use super::*;

    /// Connections arrive while the shard serves, drops and panics: the count never wraps, and is exact at the end.
    #[test]
    fn the_count_of_connections_survives_panics_that_race_with_new_connections() {
        const GIVERS: usize = 4;
        const EACH: usize = 2000;
        let connections = Arc::new(AtomicUsize::new(0));
        let queue = Mutex::new(Vec::new());
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..GIVERS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        queue.lock().push(LoadGuard::new(&connections));
                    }
                    done.fetch_add(1, SeqCst);
                });
            }
            while done.load(SeqCst) < GIVERS || !queue.lock().is_empty() {
                let life = catch_unwind(AssertUnwindSafe(|| {
                    let mut served = Vec::new();
                    for _ in 0..3 {
                        served.append(&mut queue.lock());
                        assert!(
                            served.len() <= connections.load(SeqCst),
                            "a connection that is not counted"
                        );
                        let left = served.len() / 2;
                        served.truncate(left);
                    }
                    // as a panic, but without its message
                    std::panic::resume_unwind(Box::new(served));
                }));
                let served = life.unwrap_err();
                assert!(served.is::<Vec<LoadGuard>>(), "the shard's own assertion");
                let count = connections.load(SeqCst);
                assert!(count <= GIVERS * EACH, "wrapped: {count}");
            }
        });
        assert_eq!(connections.load(SeqCst), 0, "no connection is left");
    }
}
