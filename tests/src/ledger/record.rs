//! The records of a run, which are the input of the judge. They are plain values, so that tests can write them by hand.

use std::time::Duration;

use crate::filter::Filter;

/// Everything that was published, into the logs of the channel in order.
#[derive(Clone, Debug, Default)]
pub struct Publications {
    /// The events.
    pub published: Vec<Published>,
    /// Entry `k` belongs to log `k + 1`: the last sequence of log `k` that it has. 0 for a new log; more for an older store that was
    /// restored.
    pub cuts: Vec<u64>,
}

/// One published event.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its number, which is in its data.
    pub number: u64,
    /// Its topic; none: broadcast.
    pub topic: Option<String>,
    /// Its type; none: `message`.
    pub kind: Option<String>,
    /// When the first attempt began.
    pub began: Duration,
    /// The log at that time.
    pub log: usize,
    /// Its outcome.
    pub outcome: PublishOutcome,
}

impl Published {
    /// Whether it is due to a subscriber with this filter.
    #[must_use]
    pub fn passes(&self, filter: &Filter) -> bool {
        filter.passes(self.topic.as_deref(), self.kind.as_deref())
    }
}

/// What a publisher knows of its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// Acknowledged, with this cursor.
    Stored(String),
    /// Acknowledged, with this cursor, and erased from the log later. A subscriber that has not received it by then does not learn of it.
    Erased(String),
    /// Not acknowledged. It may be stored.
    Unknown,
    /// Every attempt failed with an answer that nothing was stored.
    NotStored,
}

/// A subscriber and what it received.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its name in reports.
    pub name: String,
    /// Its filter.
    pub filter: Filter,
    /// Its start position.
    pub start: Start,
    /// What it received, in order, over all connections.
    pub seen: Vec<Seen>,
    /// When it was served.
    pub contact: Vec<Contact>,
}

/// One moment in the service of a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// A stream that was opened has sent its first event, whatever its type. The head of a response is no service yet: overload has
    /// one, too.
    Served(Duration),
    /// An event of a publisher has arrived.
    Event(Duration),
    /// The stream has ended, or could not be opened.
    Lost(Duration),
    /// The run was over.
    Stopped(Duration),
}

/// A disturbance that a suite caused during a run. It lasts until the next one, or the end of the run.
#[derive(Clone, Debug)]
pub struct Disturbance {
    /// What was done.
    pub name: String,
    /// When it began.
    pub began: Duration,
}

/// The start position of a subscriber that has no cursor yet. With [`Earliest`](Self::Earliest) and [`Cursor`](Self::Cursor) it is
/// known what is due. With the others, everything after the first id is due, and everything that was published after the stream
/// was opened that sent this id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first event of the log. Not for suites with a retention limit, where the first sequence is not known.
    Earliest,
    /// The end of the log.
    Latest,
    /// The default of the channel.
    Default,
    /// The newest events that pass the filter, this many.
    Last(usize),
    /// Events stored this long before the stream was opened, or later.
    Ago(Duration),
    /// Events stored at this time or later.
    Time(Duration),
    /// Events after this cursor.
    Cursor(String),
}

/// One thing that a subscriber received or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A stream was opened: the head of the response has arrived.
    Opened {
        /// When.
        at: Duration,
        /// At which broker.
        broker: usize,
    },
    /// An event of a publisher.
    Event {
        /// The number in its data.
        number: u64,
        /// `event:`.
        kind: String,
        /// `id:`.
        cursor: String,
    },
    /// `eventcast.cursor`.
    Cursor(String),
    /// `eventcast.gap`.
    Gap {
        /// The lost events follow this cursor.
        requested: Option<String>,
        /// `id:`. Delivery resumes after this cursor.
        resumed: String,
        /// How many.
        lost: Option<u64>,
        /// Why.
        reason: String,
    },
    /// The connection ended: `eventcast.closing`, or a broken socket.
    Ended(String),
    /// The subscriber has renewed its grant.
    Renewed,
    /// The subscriber ended the connection, after it had time to receive a cursor.
    Left,
    /// Something that must never be sent.
    Violation(String),
}
