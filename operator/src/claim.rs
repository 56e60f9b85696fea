//! Which operator reconciles a channel: two that watch the same namespace would overwrite each other's changes for ever. Pure.
//!
//! An operator claims a channel in `status.operator`. The claim lasts as long as its Lease is renewed, and half an hour more, so it is written
//! once, however many channels there are. Without a Lease it has an end, and is renewed. Another operator that sees a claim which has not expired
//! leaves the channel alone. Replicas of one operator have one name, and elect a leader.

use std::time::Duration;

use eventcast_crds::channel::{OPERATOR_ANNOTATION, status::OperatorStatus};
use jiff::{SignedDuration, Timestamp};
use kube::core::ObjectMeta;

/// Lower bound of the time between two renewals. Each one writes a status, which wakes every client that watches channels.
const MIN_RENEWAL_INTERVAL: Duration = Duration::from_secs(600);
/// A claim is renewed once a third of its time has passed.
const RENEWALS: u32 = 3;
/// How long a channel belongs to an operator at least that does not run any more.
const MIN_CLAIM: SignedDuration = SignedDuration::from_mins(30);

/// Another operator that reconciles a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherOperator {
    /// Its name.
    pub name: String,
    /// When its claim expires; `None` if that is not known, or the annotation names it.
    pub expires_in: Option<Duration>,
}

/// What is known of the Lease of another operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// It was renewed last at this time.
    Renewed(Timestamp),
    /// There is none.
    Missing,
    /// It could not be read.
    Unknown,
}

/// The other operator that reconciles the channel; `None` if it is `own`, or nobody. `lease` is asked for the Lease of an operator.
#[must_use]
pub fn other_operator(
    channel: &ObjectMeta,
    claim: Option<&OperatorStatus>,
    own: &str,
    now: Timestamp,
    lease: impl FnOnce(&str) -> LeaseState,
) -> Option<OtherOperator> {
    let annotations = channel.annotations.as_ref();
    if let Some(name) = annotations.and_then(|a| a.get(OPERATOR_ANNOTATION)) {
        return (name != own).then(|| OtherOperator { name: name.clone(), expires_in: None });
    }
    let claim = claim.filter(|claim| claim.name != own)?;
    let other = |expires_in| Some(OtherOperator { name: claim.name.clone(), expires_in });
    let until = match &claim.until {
        Some(until) => until.parse::<Timestamp>().ok()?,
        None => match lease(&claim.name) {
            LeaseState::Renewed(at) => at.saturating_add(MIN_CLAIM).unwrap_or(at),
            LeaseState::Missing => return None,
            LeaseState::Unknown => return other(None),
        },
    };
    let left = Duration::try_from(until.duration_since(now)).ok().filter(|left| !left.is_zero())?;
    other(Some(left))
}

/// The claim of the operator `own`. `resync`: it has no Lease, and reconciles each channel at least so often; the claim then changes only when it
/// must be renewed.
#[must_use]
pub fn claim(
    old: Option<&OperatorStatus>,
    own: &str,
    resync: Option<Duration>,
    now: Timestamp,
) -> OperatorStatus {
    let Some(resync) = resync else {
        return OperatorStatus { name: own.into(), until: None };
    };
    let interval = resync.max(MIN_RENEWAL_INTERVAL);
    let seconds = |n: u32| SignedDuration::try_from(interval * n).unwrap_or(SignedDuration::MAX);
    let renew_before = now.saturating_add(seconds(RENEWALS - 1)).unwrap_or(now);
    let until = |claim: &OperatorStatus| claim.until.as_ref()?.parse::<Timestamp>().ok();
    let is_current = |claim: &&OperatorStatus| {
        claim.name == own && until(claim).is_some_and(|until| until > renew_before)
    };
    if let Some(current) = old.filter(is_current) {
        return current.clone();
    }
    let until = now.saturating_add(seconds(RENEWALS)).unwrap_or(now);
    // Whole seconds are enough, and shorter.
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    OperatorStatus { name: own.into(), until: Some(until.to_string()) }
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
        claim(None, by, Some(RESYNC), at(second))
    }

    fn other(
        status: &OperatorStatus,
        own: &str,
        second: i64,
        lease: LeaseState,
    ) -> Option<OtherOperator> {
        other_operator(&ObjectMeta::default(), Some(status), own, at(second), |_| lease)
    }

    fn expiring(name: &str, seconds: u64) -> Option<OtherOperator> {
        Some(OtherOperator { name: name.into(), expires_in: Some(Duration::from_secs(seconds)) })
    }

    #[test]
    fn a_claim_keeps_others_away_until_it_expires() {
        let (status, unread) = (claimed("a", 0), LeaseState::Missing);
        assert_eq!(status.until.as_deref(), Some("1970-01-01T00:30:00Z"));
        assert_eq!(other(&status, "a", 1, unread), None);
        assert_eq!(other(&status, "b", 1, unread), expiring("a", 1799));
        assert_eq!(other(&status, "b", 1800, unread), None, "it has expired");
    }

    #[test]
    fn a_claim_without_an_end_lasts_as_long_as_the_lease() {
        let status = claim(None, "a", None, at(0));
        assert_eq!(claim(Some(&status), "a", None, at(1 << 30)), status, "written once");
        let renewed = LeaseState::Renewed(at(5000));
        assert_eq!(other(&status, "a", 5001, renewed), None);
        assert_eq!(other(&status, "b", 5001, renewed), expiring("a", 1799));
        assert_eq!(other(&status, "b", 6800, renewed), None, "not renewed for half an hour");
        assert_eq!(other(&status, "b", 5001, LeaseState::Missing), None, "it was removed");
        let unknown = other(&status, "b", 1 << 30, LeaseState::Unknown).unwrap();
        assert_eq!((&*unknown.name, unknown.expires_in), ("a", None), "left alone");
    }

    #[test]
    fn the_annotation_names_the_operator_whatever_was_claimed() {
        let annotations = BTreeMap::from([(OPERATOR_ANNOTATION.to_owned(), "b".to_owned())]);
        let named = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
        let status = claimed("a", 0);
        let other =
            |own| other_operator(&named, Some(&status), own, at(1), |_| LeaseState::Unknown);
        assert_eq!(other("b"), None);
        let named = other("a").unwrap();
        assert_eq!((&*named.name, named.expires_in), ("b", None));
    }

    #[test]
    fn a_claim_with_an_end_changes_only_when_a_third_of_it_is_over() {
        let status = claimed("a", 0);
        let renewed = |second| claim(Some(&status), "a", Some(RESYNC), at(second));
        assert_eq!(renewed(599), status);
        assert_eq!(renewed(601).until.as_deref(), Some("1970-01-01T00:40:01Z"));
        assert_eq!(claim(Some(&status), "b", Some(RESYNC), at(1)).name, "b", "a new one");
        let short = claim(None, "a", Some(Duration::from_secs(1)), at(0));
        assert_eq!(short.until.as_deref(), Some("1970-01-01T00:30:00Z"), "not at every resync");
        assert_eq!(claim(Some(&status), "a", None, at(1)).until, None, "it has a Lease now");
    }
}
