//! The conditions in the status of channels and pools: their types, and what their reasons mean. Part of the API: a type or reason that was
//! released keeps its meaning. `docs/reference/conditions.md` is generated from here.

pub mod reasons;

use Status::{False, True, Unknown};

/// The value of `status` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

impl Status {
    /// The value as Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            True => "True",
            False => "False",
            Unknown => "Unknown",
        }
    }
}

macro_rules! conditions {
    ($($(#[doc = $meaning:literal])+ $constant:ident = $name:literal;)+) => {
        $($(#[doc = $meaning])+ pub const $constant: &str = $name;)+
        /// All types and their meaning, in the order in which they depend on each other.
        pub const ALL: &[(&str, &str)] = &[$(($name, concat!($($meaning),+))),+];
    };
}

conditions! {
    /// All of `Accepted`, `StreamReady`, `Available` and `Exposed` are true.
    READY = "Ready";
    /// The spec is valid, and the objects could be applied.
    ACCEPTED = "Accepted";
    /// The stream exists and matches the spec.
    STREAM_READY = "StreamReady";
    /// At least one broker is ready.
    AVAILABLE = "Available";
    /// The Service, Ingress and HTTPRoute of the spec exist.
    EXPOSED = "Exposed";
    /// Credentials can be judged. Not a part of `Ready`: it concerns only clients whose credentials need what is missing.
    ACCESS_READY = "AccessReady";
    /// Events reach clients through their URL. Not a part of `Ready`: it is about what is between clients and brokers. Absent if delivery is not probed.
    DELIVERY_VERIFIED = "DeliveryVerified";
    /// The operator has chosen the number of brokers. Not a part of `Ready`. Absent if it does not choose it.
    AUTOSCALED = "Autoscaled";
    /// No broker has far more streams than others. Not a part of `Ready`. Absent for a channel of one broker, and if streams stay where they are.
    BALANCED = "Balanced";
    /// The brokers have the version and settings of the operator. Not a part of `Ready`: the old ones serve.
    UP_TO_DATE = "UpToDate";
    /// Nothing will change until somebody changes something: true, with the reason and message of the condition that is false. Absent otherwise.
    STALLED = "Stalled";
    /// Reconciliation is paused by the annotation. Absent otherwise.
    PAUSED = "Paused";
}

/// What a reason means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The reason.
    pub name: &'static str,
    /// Types of the conditions that may have it.
    pub conditions: &'static [&'static str],
    /// Status of these conditions.
    pub status: Status,
    /// What it means.
    pub meaning: &'static str,
    /// What a person can do; `None` if nothing has to be done.
    pub advice: Option<Advice>,
}

/// What a person can do about a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// One step, as a sentence without a full stop. The message of the condition has the details.
    pub step: &'static str,
    /// A page below `docs`, perhaps with an anchor.
    pub page: &'static str,
}

impl Reason {
    fn is_of(&self, condition: &str) -> bool {
        self.conditions.contains(&condition)
    }
}

/// What to do about a reason. `Ready` and `Stalled` have the reasons of other conditions.
#[must_use]
pub fn advice(condition: &str, reason: &str) -> Option<Advice> {
    let known = || reasons::ALL.iter().filter(|known| known.name == reason);
    known().find(|known| known.is_of(condition)).or_else(|| known().next())?.advice
}

/// Whether a condition of this type may have this reason.
#[must_use]
pub fn is_known(condition: &str, reason: &str) -> bool {
    let mut known = reasons::ALL.iter().filter(|known| known.name == reason);
    known.any(|known| known.is_of(condition) || matches!(condition, READY | STALLED))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_is_one_of_a_condition_and_is_listed_once() {
        let types: HashSet<_> = ALL.iter().map(|(name, _)| *name).collect();
        assert_eq!(types.len(), ALL.len());
        let mut seen = HashSet::new();
        for reason in reasons::ALL {
            for condition in reason.conditions {
                assert!(types.contains(condition), "{reason:?}");
                assert!(seen.insert((condition, reason.name)), "{reason:?} is there twice");
            }
            assert!(reason.name.chars().all(|c| c.is_ascii_alphanumeric()), "{reason:?}");
        }
        for (name, _) in ALL.iter().filter(|(name, _)| *name != STALLED) {
            assert!(reasons::ALL.iter().any(|reason| reason.is_of(name)), "{name} has no reason");
        }
    }

    #[test]
    fn a_condition_that_is_false_says_what_to_do() {
        for reason in reasons::ALL.iter().filter(|reason| reason.status == False) {
            assert!(reason.advice.is_some(), "{reason:?}");
        }
    }

    #[test]
    fn advice_is_that_of_the_condition_or_of_the_reason() {
        let page = |condition, reason| advice(condition, reason).map(|advice| advice.page);
        assert_eq!(page("AccessReady", "CertificateInvalid"), Some("KUBERNETES.md#tls"));
        let delivery = page("DeliveryVerified", "CertificateInvalid");
        assert_eq!(delivery, Some("DELIVERY-PROBE.md#what-it-finds"));
        assert_eq!(page("Ready", "ScaledToZero"), Some("SCALING.md"));
        assert_eq!(page("Available", "OfTheFuture"), None);
    }

    #[test]
    fn a_reason_belongs_to_its_conditions_and_to_those_that_sum_up() {
        let first = reasons::ALL.iter().find(|r| r.conditions == [ACCEPTED]).unwrap();
        for (condition, expected) in
            [(ACCEPTED, true), (READY, true), (STALLED, true), (BALANCED, false)]
        {
            assert_eq!(is_known(condition, first.name), expected, "{condition}");
        }
        assert!(!is_known(READY, "NoSuchReason"));
        assert_eq!([True, False, Unknown].map(Status::as_str), ["True", "False", "Unknown"]);
    }
}
