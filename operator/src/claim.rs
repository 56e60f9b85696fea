//! Which operator reconciles a channel: two that watch the same namespace would overwrite each other's changes for ever. Pure.
//!
//! An operator claims a channel in `status.operator` for some time, and renews the claim while it runs. Another operator that sees a claim
//! which has not expired leaves the channel alone. Replicas of one operator have one name, and elect a leader.

use std::time::Duration;

use eventcast_crds::channel::{OPERATOR_ANNOTATION, status::OperatorStatus};
use jiff::{SignedDuration, Timestamp};
use kube::core::ObjectMeta;

/// Lower bound of the time between two renewals. Each one writes a status, which wakes every client that watches channels.
const MIN_RENEWAL_INTERVAL: Duration = Duration::from_secs(600);
/// A claim is renewed once a third of its time has passed.
const RENEWALS: u32 = 3;

/// Another operator that reconciles a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherOperator {
    /// Its name.
    pub name: String,
    /// When its claim expires; `None` if the annotation names it.
    pub expires_in: Option<Duration>,
}

/// The other operator that reconciles the channel; `None` if it is `own`, or nobody.
#[must_use]
pub fn other_operator(
    channel: &ObjectMeta,
    claim: Option<&OperatorStatus>,
    own: &str,
    now: Timestamp,
) -> Option<OtherOperator> {
    let annotations = channel.annotations.as_ref();
    if let Some(name) = annotations.and_then(|a| a.get(OPERATOR_ANNOTATION)) {
        return (name != own).then(|| OtherOperator { name: name.clone(), expires_in: None });
    }
    let claim = claim.filter(|claim| claim.name != own)?;
    let left = claim.until.parse::<Timestamp>().ok()?.duration_since(now);
    let left = Duration::try_from(left).ok().filter(|left| !left.is_zero())?;
    Some(OtherOperator { name: claim.name.clone(), expires_in: Some(left) })
}

/// The claim of the operator `own`, which reconciles each channel at least every `resync`. It changes only when it must be renewed.
#[must_use]
pub fn claim(
    old: Option<&OperatorStatus>,
    own: &str,
    resync: Duration,
    now: Timestamp,
) -> OperatorStatus {
    let interval = resync.max(MIN_RENEWAL_INTERVAL);
    let seconds = |n: u32| SignedDuration::try_from(interval * n).unwrap_or(SignedDuration::MAX);
    let renew_before = now.saturating_add(seconds(RENEWALS - 1)).unwrap_or(now);
    let is_current = |claim: &&OperatorStatus| {
        claim.name == own
            && claim.until.parse::<Timestamp>().is_ok_and(|until| until > renew_before)
    };
    if let Some(current) = old.filter(is_current) {
        return current.clone();
    }
    let until = now.saturating_add(seconds(RENEWALS)).unwrap_or(now);
    // Whole seconds are enough, and shorter.
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    OperatorStatus { name: own.into(), until: until.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const RESYNC: Duration = Duration::from_secs(600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claimed(by: &str, second: i64) -> OperatorStatus {
        claim(None, by, RESYNC, at(second))
    }

    #[test]
    fn a_claim_keeps_others_away_until_it_expires() {
        let (plain, status) = (ObjectMeta::default(), claimed("a", 0));
        assert_eq!(status.until, "1970-01-01T00:30:00Z");
        assert_eq!(other_operator(&plain, Some(&status), "a", at(1)), None);
        let other = other_operator(&plain, Some(&status), "b", at(1)).unwrap();
        assert_eq!((&*other.name, other.expires_in), ("a", Some(Duration::from_secs(1799))));
        assert_eq!(other_operator(&plain, Some(&status), "b", at(1800)), None);
        assert_eq!(other_operator(&plain, None, "b", at(1)), None);
    }

    #[test]
    fn the_annotation_names_the_operator_whatever_was_claimed() {
        let annotations = BTreeMap::from([(OPERATOR_ANNOTATION.to_owned(), "b".to_owned())]);
        let named = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
        let status = claimed("a", 0);
        assert_eq!(other_operator(&named, Some(&status), "b", at(1)), None);
        let other = other_operator(&named, Some(&status), "a", at(1)).unwrap();
        assert_eq!((&*other.name, other.expires_in), ("b", None));
    }

    #[test]
    fn a_claim_changes_only_when_a_third_of_it_is_over() {
        let status = claimed("a", 0);
        let renewed = |second| claim(Some(&status), "a", RESYNC, at(second));
        assert_eq!(renewed(599), status);
        assert_eq!(renewed(601).until, "1970-01-01T00:40:01Z");
        assert_eq!(claim(Some(&status), "b", RESYNC, at(1)).name, "b", "a new one");
        let short = claim(None, "a", Duration::from_secs(1), at(0));
        assert_eq!(short.until, "1970-01-01T00:30:00Z", "not at every resync");
    }
}
