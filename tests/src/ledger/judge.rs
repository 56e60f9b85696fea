//! The judge: checks what subscribers recorded against what was published. Pure.
//!
//! The record of a subscriber is cut into *segments* at every report that the log was recreated. Within a segment, positions
//! only grow, and every due event comes once or lies in a declared gap. The broker does not say which of the channel's logs a
//! segment was read from. The judge chooses the one that fits best, never an older one than before, and the last one for the last
//! segment.

mod index;
mod reading;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use self::{index::Index, segment::Finding};
use super::{LedgerReport, Observed, Offence, Publications, PublishOutcome, Seen, Verdict, entry};

/// Judges a run.
#[must_use]
pub fn judge(publications: Publications, observed: &[Observed]) -> LedgerReport {
    let count = |outcome: fn(&PublishOutcome) -> bool| {
        publications.published.iter().filter(|p| outcome(&p.outcome)).count()
    };
    let mut report = LedgerReport {
        acknowledged: count(|outcome| {
            matches!(outcome, PublishOutcome::Stored(_) | PublishOutcome::Erased(_))
        }),
        unknown: count(|outcome| *outcome == PublishOutcome::Unknown),
        not_stored: count(|outcome| *outcome == PublishOutcome::NotStored),
        ..LedgerReport::default()
    };
    let (index, problems) = Index::new(publications, observed);
    report.problems = problems;
    report.verdicts = observed.iter().map(|observed| verdict(&index, observed)).collect();
    report
}

fn verdict(index: &Index, observed: &Observed) -> Verdict {
    let mut verdict = Verdict { name: observed.name.clone(), ..Verdict::default() };
    for seen in &observed.seen {
        match seen {
            Seen::Opened { .. } => verdict.connections += 1,
            Seen::Violation(text) => verdict.offences.push(Offence::Violation(text.clone())),
            Seen::Gap { reason, .. } => *verdict.gaps.entry(reason.clone()).or_default() += 1,
            Seen::Renewed => verdict.renewed += 1,
            Seen::Ended(why) if why == entry::EXPIRED => verdict.expired += 1,
            Seen::Ended(_) | Seen::Event { .. } | Seen::Cursor(_) | Seen::Left => {}
        }
    }
    let segments = segment::cut(observed);
    let (last, earlier) = segments.split_last().expect("a record has at least one segment");
    let mut got = HashSet::new();
    let mut log = 0;
    let mut declared = Vec::new(); // Events of earlier logs that a reset declared lost.
    for (number, segment) in earlier.iter().enumerate() {
        let candidates =
            (log..=index.last_log()).map(|log| (log, segment.judge(index, log, false)));
        // A segment without events fits every log: a reset is accepted unless the events received contradict it.
        let best = candidates.min_by_key(|(candidate, finding)| {
            (finding.offences.len(), number > 0 && *candidate == log)
        });
        let (chosen, finding) = best.expect("there is at least one log");
        if number > 0 && chosen == log {
            verdict.offences.push(needless(log));
        }
        log = chosen;
        declared.extend(finding.undelivered.iter().copied());
        add(&mut verdict, &mut got, finding);
    }
    if !earlier.is_empty() && log == index.last_log() {
        verdict.offences.push(needless(log));
    }
    let finding = last.judge(index, index.last_log(), true);
    add(&mut verdict, &mut got, finding);
    // Events that a reset declared lost may still come, if the new log has them.
    let lost: HashSet<u64> = declared.into_iter().filter(|number| !got.contains(number)).collect();
    verdict.due += lost.len();
    verdict.declared_lost.extend(lost);
    verdict
}

fn needless(log: usize) -> Offence {
    Offence::WrongGap(format!("a new log was reported, but log {log} is still the current one"))
}

/// Adds what one segment says; events that came again in a later log count once.
fn add(verdict: &mut Verdict, got: &mut HashSet<u64>, finding: Finding) {
    let new = finding.delivered.iter().filter(|number| got.insert(**number)).count();
    verdict.delivered += new;
    verdict.maybe += finding.maybe;
    let missing = finding.offences.iter().filter(|o| matches!(o, Offence::Missing { .. })).count();
    verdict.due += new + finding.lost.len() + missing;
    verdict.declared_lost.extend(finding.lost);
    verdict.offences.extend(finding.offences);
}
