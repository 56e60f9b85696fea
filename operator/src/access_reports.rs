//! What is known about the credentials of the channels besides their specs: what brokers report, and whether they may verify tokens of
//! service accounts. In memory: after a restart of the operator the conditions stay as they are until the brokers were asked.

use std::collections::{BTreeSet, HashMap};

use eventcast_crds::broker_status::AccessProblem;
use parking_lot::Mutex;

/// Namespace and name of a channel.
pub type ChannelKey = (String, String);

/// What the brokers of a channel report. Empty if all is well.
pub type Problems = BTreeSet<AccessProblem>;

/// The reports of all channels.
#[derive(Debug, Default)]
pub struct AccessReports {
    problems: Mutex<HashMap<ChannelKey, Problems>>,
    review_failure: Mutex<Option<String>>,
}

impl AccessReports {
    /// What the brokers of a channel reported last. `None` if none has answered yet.
    #[must_use]
    pub fn problems(&self, channel: &ChannelKey) -> Option<Problems> {
        self.problems.lock().get(channel).cloned()
    }

    /// Replaces all reports. Channels without an entry in `new` have no broker that answered; those that are not in `channels` were
    /// deleted. Returns the channels whose report changed.
    pub fn replace(
        &self,
        new: HashMap<ChannelKey, Problems>,
        channels: &BTreeSet<ChannelKey>,
    ) -> Vec<ChannelKey> {
        let mut known = self.problems.lock();
        known.retain(|channel, _| channels.contains(channel));
        let mut changed = Vec::new();
        for (channel, problems) in new {
            if known.get(&channel) != Some(&problems) {
                known.insert(channel.clone(), problems);
                changed.push(channel);
            }
        }
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
    fn only_channels_with_news_are_reported() {
        let key = |name: &str| ("ns".to_owned(), name.to_owned());
        let problem = AccessProblem {
            what: "certificate".into(),
            reason: AccessReason::CertificateInvalid,
            detail: String::new(),
        };
        let reports = AccessReports::default();
        let all = BTreeSet::from([key("a"), key("b")]);
        let report = |problems: Problems| HashMap::from([(key("a"), problems)]);
        assert_eq!(reports.problems(&key("a")), None);
        assert_eq!(reports.replace(report(Problems::new()), &all), [key("a")], "the first answer");
        assert!(reports.replace(report(Problems::new()), &all).is_empty());
        let bad = Problems::from([problem]);
        assert_eq!(reports.replace(report(bad.clone()), &all), [key("a")]);
        assert!(reports.replace(HashMap::new(), &all).is_empty());
        assert_eq!(
            reports.problems(&key("a")),
            Some(bad),
            "a broker that does not answer says nothing new"
        );
        assert!(reports.replace(HashMap::new(), &BTreeSet::new()).is_empty());
        assert_eq!(reports.problems(&key("a")), None, "the channel was deleted");
    }
}
