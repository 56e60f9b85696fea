//! The judge: checks what subscribers recorded against what was published. Pure.
//!
//! The record of a subscriber is cut into *stretches* wherever it was told that the log was recreated. Within a stretch, positions
//! only grow, and every due event comes once or lies in a declared gap. The broker does not say which of the channel's logs a
//! stretch was read from. The judge chooses the one that fits best, never an older one than before, and the last one for the last
//! stretch.

mod index;
mod reading;
mod stretch;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use self::{index::Index, stretch::Finding};
use super::{Fate, LedgerReport, Observed, Offence, Seen, Verdict, World, note};

/// Judges a run.
#[must_use]
pub fn judge(world: World, observed: &[Observed]) -> LedgerReport {
    let count = |fate: fn(&Fate) -> bool| world.published.iter().filter(|p| fate(&p.fate)).count();
    let mut report = LedgerReport {
        acknowledged: count(|fate| matches!(fate, Fate::Stored(_) | Fate::Erased(_))),
        unknown: count(|fate| *fate == Fate::Unknown),
        not_stored: count(|fate| *fate == Fate::NotStored),
        ..LedgerReport::default()
    };
    let (index, problems) = Index::new(world, observed);
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
            Seen::Ended(why) if why == note::EXPIRED => verdict.expired += 1,
            Seen::Ended(_) | Seen::Event { .. } | Seen::Cursor(_) | Seen::Left => {}
        }
    }
    let stretches = stretch::cut(observed);
    let (last, earlier) = stretches.split_last().expect("a record has at least one stretch");
    let mut got = HashSet::new();
    let mut log = 0;
    let mut told = Vec::new(); // Events of earlier logs that a reset declared lost.
    for (number, stretch) in earlier.iter().enumerate() {
        let candidates =
            (log..=index.last_log()).map(|log| (log, stretch.judge(index, log, false)));
        // A stretch without events fits every log: a reset is accepted unless the events received contradict it.
        let best = candidates.min_by_key(|(candidate, finding)| {
            (finding.offences.len(), number > 0 && *candidate == log)
        });
        let (chosen, finding) = best.expect("there is at least one log");
        if number > 0 && chosen == log {
            verdict.offences.push(needless(log));
        }
        log = chosen;
        told.extend(finding.undelivered.iter().copied());
        add(&mut verdict, &mut got, finding);
    }
    if !earlier.is_empty() && log == index.last_log() {
        verdict.offences.push(needless(log));
    }
    let finding = last.judge(index, index.last_log(), true);
    add(&mut verdict, &mut got, finding);
    // Events that a reset declared lost may still come, if the new log has them.
    let lost: HashSet<u64> = told.into_iter().filter(|number| !got.contains(number)).collect();
    verdict.due += lost.len();
    verdict.declared_lost.extend(lost);
    verdict
}

fn needless(log: usize) -> Offence {
    Offence::WrongGap(format!("told of a new log, but log {log} is still the one"))
}

/// Adds what one stretch says; events that came again in a later log count once.
fn add(verdict: &mut Verdict, got: &mut HashSet<u64>, finding: Finding) {
    let new = finding.delivered.iter().filter(|number| got.insert(**number)).count();
    verdict.delivered += new;
    verdict.maybe += finding.maybe;
    let missing = finding.offences.iter().filter(|o| matches!(o, Offence::Missing { .. })).count();
    verdict.due += new + finding.lost.len() + missing;
    verdict.declared_lost.extend(finding.lost);
    verdict.offences.extend(finding.offences);
}
