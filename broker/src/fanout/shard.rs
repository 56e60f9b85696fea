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
};

use bytes::Bytes;
use mio::Poll;
use tokio::runtime::Handle;

use self::{
    engine::Engine,
    inbox::{Inbox, Message},
};
use super::{Held, Opening};

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
    /// Starts `count` threads; they read pages on the present runtime.
    ///
    /// # Errors
    /// The system gives no epoll or no thread.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut inboxes = Vec::with_capacity(count);
        for number in 0..count {
            let poll = Poll::new()?;
            let inbox = Arc::new(Inbox::new(poll.registry())?);
            inboxes.push(Arc::clone(&inbox));
            let runtime = Handle::current();
            thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
                let _entered = runtime.enter();
                run(poll, &inbox);
            })?;
        }
        Ok(Self { inboxes })
    }

    /// Whether there are none, and hyper keeps every socket.
    pub(crate) fn is_empty(&self) -> bool {
        self.inboxes.is_empty()
    }

    /// Gives a stream to the shard that has the fewest.
    pub(crate) fn give(&self, taken: Taken) {
        if let Some(inbox) = self.inboxes.iter().min_by_key(|inbox| inbox.seats()) {
            inbox.give(taken);
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.inboxes.iter().for_each(|inbox| inbox.push(Message::Stop));
    }
}

/// Runs a shard until it is told to stop. After a panic, which is a fault of ours, its subscribers have lost their sockets and
/// come back; the shard goes on with new ones.
fn run(mut poll: Poll, inbox: &Arc<Inbox>) {
    loop {
        let ended = catch_unwind(AssertUnwindSafe(|| Engine::new(inbox).run(&mut poll)));
        match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!(%error, "a shard failed: its subscribers reconnect"),
            Err(_) => tracing::error!("a shard panicked: its subscribers reconnect"),
        }
        inbox.restarted();
    }
}
