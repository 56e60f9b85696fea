//! The way into a shard: new streams, and wake-ups. The shard's thread is woken only if it sleeps.

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

use super::{Key, Taken};

/// The token of the inbox itself.
pub(super) const WAKE: Token = Token(usize::MAX);

/// What a shard is told.
pub(super) enum Message {
    /// A stream to serve, and its place in the count.
    Join(Box<Taken>, Occupied),
    /// A wake-up.
    Call(Call),
    /// The process ends.
    Stop,
}

/// What a wake-up is about. The second number is the generation of the first, which may be somebody else by now.
#[derive(Clone, Copy)]
pub(super) enum Call {
    /// A page has come for this subscriber, or it is to end.
    Seat(Key, u32),
    /// There is news in the log of this channel.
    Live(u32, u32),
}

/// Bounded by what the shard serves: every subscriber and channel has a few wake-ups under way at most.
pub(super) struct Inbox {
    messages: Mutex<Vec<Message>>,
    asleep: AtomicBool,
    waker: mio::Waker,
    seats: Arc<AtomicUsize>,
    /// The shard rests after a failure.
    rests: AtomicBool,
}

/// Counts one stream of a shard, from the moment that it is given until it is dropped, wherever that happens: in the queue, in its
/// seat, or with a shard that panics.
pub(super) struct Occupied(Arc<AtomicUsize>);

impl Occupied {
    fn new(seats: &Arc<AtomicUsize>) -> Self {
        seats.fetch_add(1, Relaxed);
        Self(Arc::clone(seats))
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Inbox {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        Ok(Self {
            messages: Mutex::default(),
            asleep: AtomicBool::new(false),
            waker: mio::Waker::new(registry, WAKE)?,
            seats: Arc::default(),
            rests: AtomicBool::new(false),
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

    pub(super) fn give(&self, taken: Taken) {
        let occupied = Occupied::new(&self.seats);
        self.push(Message::Join(Box::new(taken), occupied));
    }

    /// Streams that were given and have not ended.
    pub(super) fn seats(&self) -> usize {
        self.seats.load(Relaxed)
    }

    /// Whether the shard rests after a failure: streams are better given to others meanwhile.
    pub(super) fn rests(&self) -> bool {
        self.rests.load(Relaxed)
    }

    pub(super) fn set_rests(&self, rests: bool) {
        self.rests.store(rests, Relaxed);
    }

    /// The shard is about to sleep; false where it must not.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, SeqCst);
        // Whoever pushed before saw nobody asleep.
        let empty = self.messages.lock().is_empty();
        if !empty {
            self.asleep.store(false, SeqCst);
        }
        empty
    }

    /// Takes what has come into `into`, which is empty. The shard is awake.
    pub(super) fn take(&self, into: &mut Vec<Message>) {
        self.asleep.store(false, SeqCst);
        std::mem::swap(&mut *self.messages.lock(), into);
    }
}

/// Tells a shard, once for each time that it is armed.
struct Caller {
    inbox: Arc<Inbox>,
    call: Call,
}

/// A waker that makes `call`.
pub(super) fn caller(inbox: &Arc<Inbox>, call: Call) -> Waker {
    Arc::new(Caller { inbox: Arc::clone(inbox), call }).into()
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inbox.push(Message::Call(self.call));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        thread,
    };

    use super::*;

    /// Streams are given while the shard serves, drops and panics: the count is exact whenever nobody moves, and never wraps.
    #[test]
    fn the_count_of_streams_survives_panics_that_race_with_new_streams() {
        const GIVERS: usize = 4;
        const EACH: usize = 2000;
        let seats = Arc::new(AtomicUsize::new(0));
        let queue = Mutex::new(Vec::new());
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..GIVERS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        queue.lock().push(Occupied::new(&seats));
                    }
                    done.fetch_add(1, SeqCst);
                });
            }
            while done.load(SeqCst) < GIVERS || !queue.lock().is_empty() {
                let life = catch_unwind(AssertUnwindSafe(|| {
                    let mut served = Vec::new();
                    for _ in 0..3 {
                        served.append(&mut queue.lock());
                        assert!(served.len() <= seats.load(SeqCst), "a stream that is not counted");
                        let left = served.len() / 2;
                        served.truncate(left);
                    }
                    // as a panic, but without its message
                    std::panic::resume_unwind(Box::new(served));
                }));
                let served = life.unwrap_err();
                assert!(served.is::<Vec<Occupied>>(), "the shard's own assertion");
                let count = seats.load(SeqCst);
                assert!(count <= GIVERS * EACH, "wrapped: {count}");
            }
        });
        assert_eq!(seats.load(SeqCst), 0, "nobody is left");
    }
}
