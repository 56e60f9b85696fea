//! The findings of the judge, and the report about them.

use std::{collections::BTreeMap, fmt};

use super::Cost;

/// How many subscribers, and how many offences of each, a report names.
const MAX_NAMED: usize = 5;

/// A violation of the invariant. Sequences are those of the judged log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Due, but neither delivered nor declared lost.
    Missing {
        /// Number of the event.
        number: u64,
        /// Its sequence.
        sequence: u64,
    },
    /// Delivered a second time.
    Repeated {
        /// Number of the event.
        number: u64,
        /// Its sequence.
        sequence: u64,
    },
    /// An event or `eventcast.cursor` at a position that is not after the previous one.
    OutOfOrder {
        /// Its sequence.
        sequence: u64,
        /// The position before.
        after: u64,
    },
    /// `last:N` started with fewer events than requested, although earlier events pass the filter.
    BeganLate {
        /// How many were asked for.
        asked: usize,
        /// How many it could get of those that were there.
        held: usize,
    },
    /// Delivered with another cursor than its publisher was given.
    WrongCursor {
        /// Number of the event.
        number: u64,
        /// What the publisher was given.
        acknowledged: String,
        /// What came with the event.
        delivered: String,
    },
    /// Delivered although it was not due, with the reason.
    Unexpected {
        /// Number of the event.
        number: u64,
        /// Why it was not due.
        why: String,
    },
    /// Delivered although the subscriber may not read its topic.
    NotGranted {
        /// Number of the event.
        number: u64,
        /// Its topic.
        topic: String,
    },
    /// A gap with a wrong count or position.
    WrongGap(String),
    /// A violated rule of the stream, or a response that must not occur.
    Violation(String),
}

impl Offence {
    /// The kind, for counting.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Repeated { .. } => "repeated",
            Self::OutOfOrder { .. } => "out of order",
            Self::BeganLate { .. } => "began late",
            Self::WrongCursor { .. } => "wrong cursor",
            Self::Unexpected { .. } => "unexpected",
            Self::NotGranted { .. } => "not granted",
            Self::WrongGap(_) => "wrong gap",
            Self::Violation(_) => "violation",
        }
    }
}

/// The findings about one subscriber.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// Events that it should have received, or whose loss should have been declared.
    pub due: usize,
    /// Of these, delivered.
    pub delivered: usize,
    /// Numbers of the events of these that were declared lost.
    pub declared_lost: Vec<u64>,
    /// Delivered without an acknowledgement: their publishers do not know.
    pub maybe: usize,
    /// Gaps by reason.
    pub gaps: BTreeMap<String, usize>,
    /// Streams that were opened.
    pub connections: usize,
    /// How often its grant was renewed.
    pub renewed: usize,
    /// How often its grant expired.
    pub expired: usize,
    /// Its offences.
    pub offences: Vec<Offence>,
}

/// The findings about a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerReport {
    /// Acknowledged events.
    pub acknowledged: usize,
    /// Events with an unknown outcome.
    pub unknown: usize,
    /// Events that were not stored, according to the broker.
    pub not_stored: usize,
    /// What is wrong with the acknowledgements themselves.
    pub problems: Vec<String>,
    /// One per subscriber.
    pub verdicts: Vec<Verdict>,
    /// One per disturbance that the suite has named.
    pub costs: Vec<Cost>,
}

impl LedgerReport {
    /// Nothing missing, repeated, out of order or unexpected.
    ///
    /// # Panics
    /// There are offences. The message has the first few.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "the ledger does not balance\n{self}");
        eprint!("{self}");
    }

    /// As [`assert_clean`](Self::assert_clean), and nothing was declared lost: for faults that lose nothing.
    ///
    /// # Panics
    /// Something was declared lost.
    pub fn assert_nothing_lost(&self) {
        self.assert_clean();
        let gaps = self.gaps();
        assert!(gaps.is_empty(), "gaps were declared, but nothing was lost: {gaps:?}\n{self}");
    }

    /// Whether there is no offence.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.verdicts.iter().all(|verdict| verdict.offences.is_empty())
    }

    /// All declared gaps, by reason.
    #[must_use]
    pub fn gaps(&self) -> BTreeMap<&str, usize> {
        let mut all = BTreeMap::new();
        for (reason, count) in self.verdicts.iter().flat_map(|verdict| &verdict.gaps) {
            *all.entry(reason.as_str()).or_default() += count;
        }
        all
    }

    fn sum(&self, of: impl Fn(&Verdict) -> usize) -> usize {
        self.verdicts.iter().map(of).sum()
    }
}

impl fmt::Display for LedgerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "ledger: {} acknowledged, {} unknown, {} not stored; {} subscribers over {} connections: \
             {} due = {} delivered + {} declared lost + {} missing; {} maybe; gaps {:?}; \
             grants {} renewed, {} expired",
            self.acknowledged,
            self.unknown,
            self.not_stored,
            self.verdicts.len(),
            self.sum(|v| v.connections),
            self.sum(|v| v.due),
            self.sum(|v| v.delivered),
            self.sum(|v| v.declared_lost.len()),
            self.sum(|v| v.due - v.delivered - v.declared_lost.len()),
            self.sum(|v| v.maybe),
            self.gaps(),
            self.sum(|v| v.renewed),
            self.sum(|v| v.expired),
        )?;
        for problem in self.problems.iter().take(MAX_NAMED) {
            writeln!(f, "  publishing: {problem}")?;
        }
        let guilty: Vec<_> = self.verdicts.iter().filter(|v| !v.offences.is_empty()).collect();
        if guilty.is_empty() {
            return Ok(());
        }
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for offence in guilty.iter().flat_map(|verdict| &verdict.offences) {
            *kinds.entry(offence.kind()).or_default() += 1;
        }
        writeln!(f, "  {} subscribers with offences: {kinds:?}", guilty.len())?;
        for verdict in guilty.iter().take(MAX_NAMED) {
            let (due, delivered, lost) =
                (verdict.due, verdict.delivered, verdict.declared_lost.len());
            writeln!(f, "  {}: due {due}, delivered {delivered}, lost {lost}", verdict.name)?;
            for offence in verdict.offences.iter().take(MAX_NAMED) {
                writeln!(f, "    {offence:?}")?;
            }
            let more = verdict.offences.len().saturating_sub(MAX_NAMED);
            if more > 0 {
                writeln!(f, "    and {more} more")?;
            }
        }
        Ok(())
    }
}
