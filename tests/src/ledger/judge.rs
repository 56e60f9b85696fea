//! The judge: pure, from what was written down to what is wrong with it.
//!
//! A subscriber's record is cut into *stretches* where it was told that the log is another one. Within a stretch positions
//! only grow, every due event comes once or lies in a declared gap. Which of the channel's logs a stretch read is not said by
//! the broker; the judge takes the one that fits best, never an older one than before, and for the last stretch the last.

mod index;
mod reading;
mod stretch;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use self::{index::Index, stretch::Finding};
use super::{Fate, LedgerReport, Observed, Offence, Seen, Verdict, World};

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
            _ => {}
        }
    }
    let stretches = stretch::cut(observed);
    let (last, earlier) = stretches.split_last().expect("a record has at least one stretch");
    let mut got = HashSet::new();
    let mut log = 0;
    let mut told = Vec::new(); // events of earlier logs that a reset has declared lost
    for (number, stretch) in earlier.iter().enumerate() {
        let candidates =
            (log..=index.last_log()).map(|log| (log, stretch.judge(index, log, false)));
        // a stretch without events fits every log: a reset is believed unless what came belies it
        let best = candidates.min_by_key(|(candidate, finding)| {
            (finding.offences.len(), number > 0 && *candidate == log)
        });
        let (chosen, finding) = best.expect("there is at least one log");
        if number > 0 && chosen == log {
            verdict.offences.push(needless(log));
        }
        log = chosen;
        told.extend(finding.undelivered.iter().copied());
        note(&mut verdict, &mut got, finding);
    }
    if !earlier.is_empty() && log == index.last_log() {
        verdict.offences.push(needless(log));
    }
    let finding = last.judge(index, index.last_log(), true);
    note(&mut verdict, &mut got, finding);
    // what a reset declared lost but the new log still had came after all
    let lost: HashSet<u64> = told.into_iter().filter(|number| !got.contains(number)).collect();
    verdict.due += lost.len();
    verdict.declared_lost += lost.len();
    verdict
}

fn needless(log: usize) -> Offence {
    Offence::WrongGap(format!("told of a new log, but log {log} is still the one"))
}

/// Adds what one stretch says; events that came again in a later log count once.
fn note(verdict: &mut Verdict, got: &mut HashSet<u64>, finding: Finding) {
    let new = finding.delivered.iter().filter(|number| got.insert(**number)).count();
    verdict.delivered += new;
    verdict.maybe += finding.maybe;
    let missing = finding.offences.iter().filter(|o| matches!(o, Offence::Missing { .. })).count();
    verdict.declared_lost += finding.lost;
    verdict.due += new + finding.lost + missing;
    verdict.offences.extend(finding.offences);
}
