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

use mio::{Registry, Token};
use parking_lot::Mutex;

use super::{Key, Taken};

/// The token of the inbox itself.
pub(super) const WAKE: Token = Token(usize::MAX);

/// What a shard is told.
pub(super) enum Message {
    /// A stream to serve.
    Join(Box<Taken>),
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
    seats: AtomicUsize,
}

impl Inbox {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        Ok(Self {
            messages: Mutex::default(),
            asleep: AtomicBool::new(false),
            waker: mio::Waker::new(registry, WAKE)?,
            seats: AtomicUsize::new(0),
        })
    }

    pub(super) fn push(&self, message: Message) {
        self.messages.lock().push(message);
        if self.asleep.swap(false, SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "cannot wake a shard");
        }
    }

    pub(super) fn give(&self, taken: Taken) {
        self.seats.fetch_add(1, Relaxed);
        self.push(Message::Join(Box::new(taken)));
    }

    /// Streams that were given and have not ended.
    pub(super) fn seats(&self) -> usize {
        self.seats.load(Relaxed)
    }

    /// A stream has ended.
    pub(super) fn left(&self) {
        self.seats.fetch_sub(1, Relaxed);
    }

    /// The shard begins anew, without streams but those that wait here.
    pub(super) fn restarted(&self) {
        let waiting = self.messages.lock();
        let joins = waiting.iter().filter(|m| matches!(m, Message::Join(_))).count();
        self.seats.store(joins, Relaxed);
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
