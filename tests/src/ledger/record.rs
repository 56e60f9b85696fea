//! What is written down while a run lasts: the input of the judge, made of plain values so that a test can write it by hand.

use std::time::Duration;

use crate::filter::Filter;

/// Everything that was published, into one log after another.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The events.
    pub published: Vec<Published>,
    /// Entry `k` belongs to log `k + 1`: the last sequence of log `k` that it still holds. 0 for a log that was made anew;
    /// more for an older store that was put back.
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
    /// When the first try began.
    pub began: Duration,
    /// The log that was there at the time.
    pub log: usize,
    /// What became of it.
    pub fate: Fate,
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
pub enum Fate {
    /// Acknowledged, with this cursor.
    Stored(String),
    /// Acknowledged, with this cursor, and erased from the log later: who has not got it by then is not told.
    Erased(String),
    /// Never acknowledged, perhaps stored.
    Unknown,
    /// The broker said that nothing was stored, every time.
    NotStored,
}

/// One subscriber and what it saw.
#[derive(Clone, Debug)]
pub struct Observed {
    /// How reports call it.
    pub name: String,
    /// What it asked for.
    pub filter: Filter,
    /// Where it began.
    pub start: Start,
    /// What it saw, in order, over all its connections.
    pub seen: Vec<Seen>,
}

/// Where a subscriber asks to begin, for as long as it has no cursor. With [`Earliest`](Self::Earliest) and
/// [`Cursor`](Self::Cursor) it is known what is due; otherwise everything after the first id that came is, and what was
/// published after the stream was opened that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Everything the log has; suites where retention is at work must not use it before they know the first sequence.
    Earliest,
    /// From now on.
    Latest,
    /// Where the channel's default says.
    Default,
    /// The newest so many that pass the filter.
    Last(usize),
    /// What was stored so long before the opening, or later.
    Ago(Duration),
    /// What was stored at this time, or later.
    Time(Duration),
    /// What follows this cursor.
    Cursor(String),
}

/// One thing a subscriber saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A stream was opened: the head of the answer is there.
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
        /// Where the lost events begin (after it).
        requested: Option<String>,
        /// `id:`; where delivery goes on (after it).
        resumed: String,
        /// How many.
        lost: Option<u64>,
        /// Why.
        reason: String,
    },
    /// The connection ended: `eventcast.closing`, or a broken socket.
    Ended(String),
    /// The subscriber ended the connection, after it had time to be told a cursor.
    Left,
    /// Something that must never be sent.
    Violation(String),
}
