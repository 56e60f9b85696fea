//! Brokers that run, but are cut off from the operator or from NATS. In memory, like the other reports.

use std::{
    collections::{HashMap, HashSet},
    ops::AddAssign,
};

use eventcast_crds::broker_status::BrokerStatus;

use crate::owner::OwnerKey;

/// How many running brokers of a channel or a pool are cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutOff {
    /// Nothing answers the operator on their admin port.
    pub from_operator: usize,
    /// They answer, but cannot read the log of any channel.
    pub from_log: usize,
}

impl CutOff {
    /// Of one broker. `answer` is its status; `None` if nothing answers.
    #[must_use]
    pub fn of(answer: Option<&BrokerStatus>) -> Self {
        let Some(status) = answer else { return Self { from_operator: 1, from_log: 0 } };
        // A channel whose configuration cannot be used is not live either.
        let mut usable =
            status.channels.iter().filter(|report| report.problem.is_none()).peekable();
        let from_log = usable.peek().is_some() && usable.all(|report| !report.live);
        Self { from_operator: 0, from_log: usize::from(from_log) }
    }

    /// Without the brokers that cannot read the log, if something else is known to be the cause.
    #[must_use]
    pub fn unless_log_is_down(self, is_down: bool) -> Self {
        Self { from_log: if is_down { 0 } else { self.from_log }, ..self }
    }
}

impl AddAssign for CutOff {
    fn add_assign(&mut self, other: Self) {
        self.from_operator += other.from_operator;
        self.from_log += other.from_log;
    }
}

/// Whose count differs between two polls.
pub(super) fn changed(
    before: &HashMap<OwnerKey, CutOff>,
    after: &HashMap<OwnerKey, CutOff>,
) -> Vec<OwnerKey> {
    let owners: HashSet<_> = before.keys().chain(after.keys()).collect();
    let has_changed = |owner: &&OwnerKey| count(before, owner) != count(after, owner);
    owners.into_iter().filter(has_changed).cloned().collect()
}

fn count(counts: &HashMap<OwnerKey, CutOff>, owner: &OwnerKey) -> CutOff {
    counts.get(owner).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use eventcast_crds::broker_status::ChannelReport;

    use super::*;

    #[test]
    fn a_broker_is_cut_off_from_the_log_if_it_reads_no_channel() {
        let report = |live, problem: Option<&str>| ChannelReport {
            live,
            problem: problem.map(str::to_owned),
            ..ChannelReport::default()
        };
        let count = |channels: &[ChannelReport]| {
            let status = BrokerStatus { channels: channels.to_vec(), ..BrokerStatus::default() };
            CutOff::of(Some(&status)).from_log
        };
        assert_eq!(count(&[report(false, None)]), 1);
        assert_eq!(count(&[report(false, None), report(true, None)]), 0);
        assert_eq!(count(&[report(true, None)]), 0);
        assert_eq!(count(&[report(false, Some("invalid"))]), 0, "its configuration is the cause");
        assert_eq!(count(&[]), 0, "a pool without channels");
        assert_eq!(CutOff::of(None), CutOff { from_operator: 1, from_log: 0 });
    }

    #[test]
    fn brokers_without_an_answer_are_not_cut_off() {
        let owner = |name: &str| OwnerKey::channel(("ns".to_owned(), name.to_owned()));
        let counts = |entries: &[(&str, usize)]| -> HashMap<_, _> {
            let entry = |(name, from_log): &(&str, usize)| {
                (owner(name), CutOff { from_operator: 0, from_log: *from_log })
            };
            entries.iter().map(entry).collect()
        };
        let before = counts(&[("a", 1), ("b", 1), ("c", 0)]);
        assert_eq!(changed(&before, &counts(&[("a", 1)])), [owner("b")]);
        assert_eq!(changed(&HashMap::new(), &counts(&[("a", 2), ("b", 0)])), [owner("a")]);
    }
}
