//! What brokers report about their channels: problems of credentials, and what delivery probes have found. Also which brokers are cut off, and
//! whether brokers may verify tokens of service accounts. In memory: after a restart of the operator the conditions stay as they are until the brokers were asked.

mod cut_off;
mod delivery;

use std::collections::{BTreeSet, HashMap};

use eventcast_crds::broker_status::AccessProblem;
use parking_lot::Mutex;

pub use cut_off::CutOff;
pub use delivery::Deliveries;

use crate::owner::{ChannelKey, OwnerKey};

/// What the brokers of a channel report about credentials. Empty if all is well.
pub type Problems = BTreeSet<AccessProblem>;

/// What the brokers of a channel report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reports {
    /// Problems of credentials.
    pub problems: Problems,
    /// What delivery probes have found.
    pub delivery: Deliveries,
}

/// The reports of all channels.
#[derive(Debug, Default)]
pub struct BrokerReports {
    channels: Mutex<HashMap<ChannelKey, Reports>>,
    cut_off: Mutex<HashMap<OwnerKey, CutOff>>,
    review_failure: Mutex<Option<String>>,
}

impl BrokerReports {
    /// What the brokers of a channel reported last. `None` if none has answered yet.
    #[must_use]
    pub fn of(&self, channel: &ChannelKey) -> Option<Reports> {
        self.channels.lock().get(channel).cloned()
    }

    /// Replaces all reports. Channels without an entry in `new` have no broker that answered; those that are not in `channels` were
    /// deleted. Returns the channels whose report changed.
    pub fn replace(
        &self,
        new: HashMap<ChannelKey, Reports>,
        channels: &BTreeSet<ChannelKey>,
    ) -> Vec<ChannelKey> {
        let mut known = self.channels.lock();
        known.retain(|channel, _| channels.contains(channel));
        let mut changed = Vec::new();
        for (channel, mut reports) in new {
            let before = known.get(&channel);
            if let Some(before) = before {
                reports.delivery.settle(&before.delivery);
            }
            if before != Some(&reports) {
                known.insert(channel.clone(), reports);
                changed.push(channel);
            }
        }
        changed
    }

    /// How many running brokers of a channel or a pool are cut off.
    #[must_use]
    pub fn cut_off(&self, owner: &OwnerKey) -> CutOff {
        self.cut_off.lock().get(owner).copied().unwrap_or_default()
    }

    /// Replaces all numbers of brokers that are cut off. Returns whose changed.
    pub fn replace_cut_off(&self, new: HashMap<OwnerKey, CutOff>) -> Vec<OwnerKey> {
        let mut known = self.cut_off.lock();
        let changed = cut_off::changed(&known, &new);
        *known = new;
        changed
    }

    /// Why brokers have no right to verify tokens of service accounts, if the operator could not give it to them.
    #[must_use]
    pub fn review_failure(&self) -> Option<String> {
        self.review_failure.lock().clone()
    }

    /// Sets why brokers have no right to verify tokens. Returns whether that changed.
    pub fn set_review_failure(&self, failure: Option<String>) -> bool {
        let mut known = self.review_failure.lock();
        let changed = *known != failure;
        *known = failure;
        changed
    }
}

#[cfg(test)]
mod tests {
    use eventcast_crds::broker_status::AccessReason;

    use super::*;

    #[test]
    fn only_channels_whose_reports_changed_are_returned() {
        let key = |name: &str| ("ns".to_owned(), name.to_owned());
        let problem = AccessProblem {
            what: "certificate".into(),
            reason: AccessReason::CertificateInvalid,
            detail: String::new(),
        };
        let reports = BrokerReports::default();
        let all = BTreeSet::from([key("a"), key("b")]);
        let report = |problems: Problems| {
            HashMap::from([(key("a"), Reports { problems, ..Reports::default() })])
        };
        let known = || reports.of(&key("a")).map(|reports| reports.problems);
        assert_eq!(known(), None);
        assert_eq!(reports.replace(report(Problems::new()), &all), [key("a")], "the first answer");
        assert!(reports.replace(report(Problems::new()), &all).is_empty());
        let bad = Problems::from([problem]);
        assert_eq!(reports.replace(report(bad.clone()), &all), [key("a")]);
        assert!(reports.replace(HashMap::new(), &all).is_empty());
        assert_eq!(known(), Some(bad), "a broker that does not answer says nothing new");
        assert!(reports.replace(HashMap::new(), &BTreeSet::new()).is_empty());
        assert_eq!(known(), None, "the channel was deleted");
    }
}
