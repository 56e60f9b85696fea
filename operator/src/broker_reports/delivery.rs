//! What the brokers of a channel have found about the delivery to clients, put together. Pure.

use std::collections::BTreeMap;

use eventcast_crds::broker_status::DeliveryReport;

/// A report for each URL that brokers have probed: while a configuration spreads there can be two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deliveries(BTreeMap<String, DeliveryReport>);

impl Deliveries {
    /// What the brokers have found at `url`.
    #[must_use]
    pub fn at(&self, url: &str) -> Option<&DeliveryReport> {
        self.0.get(url)
    }

    /// Adds the report of one broker. Of several brokers the problems of all count, and the longest times.
    pub fn add(&mut self, report: &DeliveryReport) {
        let Some(known) = self.0.get_mut(&report.url) else {
            self.0.insert(report.url.clone(), report.clone());
            return;
        };
        known.first_byte_ms = known.first_byte_ms.max(report.first_byte_ms);
        known.delay_ms = known.delay_ms.max(report.delay_ms);
        if known.http_version.is_none() {
            known.http_version.clone_from(&report.http_version);
        }
        for problem in &report.problems {
            if !known.problems.iter().any(|p| p.reason == problem.reason) {
                known.problems.push(problem.clone());
            }
        }
        known.problems.sort();
    }

    /// Keeps the times of `before` where the new ones are not much different: they change with each probe, and each change of a status wakes
    /// every client that watches channels. The same with the details of problems, which contain times.
    pub fn settle(&mut self, before: &Self) {
        for (url, report) in &mut self.0 {
            let Some(old) = before.0.get(url) else { continue };
            report.first_byte_ms = settled(old.first_byte_ms, report.first_byte_ms);
            report.delay_ms = settled(old.delay_ms, report.delay_ms);
            let reasons = |report: &DeliveryReport| {
                report.problems.iter().map(|problem| problem.reason).collect::<Vec<_>>()
            };
            if reasons(old) == reasons(report) {
                report.problems.clone_from(&old.problems);
            }
        }
    }
}

/// `old`, unless `new` is more than twice or less than half of it. Times below 50 ms count as 50.
fn settled(old: Option<u64>, new: Option<u64>) -> Option<u64> {
    let (Some(before), Some(now)) = (old, new) else { return new };
    let (low, high) = (before.min(now).max(50), before.max(now).max(50));
    if high > 2 * low { new } else { old }
}

#[cfg(test)]
mod tests {
    use eventcast_crds::broker_status::{DeliveryProblem, DeliveryReason};

    use super::*;

    fn report(delay_ms: u64, problems: &[(DeliveryReason, &str)]) -> DeliveryReport {
        let problem = |(reason, detail): &(DeliveryReason, &str)| DeliveryProblem {
            reason: *reason,
            detail: (*detail).into(),
        };
        DeliveryReport {
            url: "u".into(),
            delay_ms: Some(delay_ms),
            problems: problems.iter().map(problem).collect(),
            ..DeliveryReport::default()
        }
    }

    fn all(reports: &[DeliveryReport]) -> Deliveries {
        let mut all = Deliveries::default();
        reports.iter().for_each(|report| all.add(report));
        all
    }

    #[test]
    fn what_one_broker_has_found_counts_for_all() {
        let (idle, buffered) = (DeliveryReason::IdleTimeout, DeliveryReason::Buffered);
        let found = all(&[
            report(5, &[]),
            report(90, &[(idle, "5 s")]),
            report(7, &[(idle, "6 s"), (buffered, "b")]),
        ]);
        let merged = found.at("u").unwrap();
        let kinds: Vec<_> = merged.problems.iter().map(|p| (p.reason, &*p.detail)).collect();
        assert_eq!(kinds, [(buffered, "b"), (idle, "5 s")]);
        assert_eq!(merged.delay_ms, Some(90));
        assert_eq!(found.at("v"), None);
    }

    #[test]
    fn only_what_differs_much_is_new() {
        let idle = DeliveryReason::IdleTimeout;
        let before = all(&[report(100, &[(idle, "5 s")])]);
        for (delay, expected) in [(60, 100), (199, 100), (201, 201), (49, 100), (1, 100)] {
            let mut now = all(&[report(delay, &[(idle, "6 s")])]);
            now.settle(&before);
            assert_eq!(now.at("u").unwrap().delay_ms, Some(expected), "{delay}");
            assert_eq!(now.at("u").unwrap().problems[0].detail, "5 s");
        }
        let mut well = all(&[report(100, &[])]);
        well.settle(&before);
        assert_eq!(well.at("u").unwrap().problems, []);
    }
}
