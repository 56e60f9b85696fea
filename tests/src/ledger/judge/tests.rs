//! The judge must find what is wrong: a check that cannot fail is worthless.

use std::time::Duration;

use super::*;
use crate::{
    filter::Filter,
    ledger::{Published, Start},
};

fn cursor(epoch: &str, sequence: u64) -> String {
    format!("{epoch}-{sequence}-abc")
}

/// Events 0..count of one log at sequences 1..=count, in turn of topics `a`, `b`, none.
fn published(epoch: &str, log: usize, first_number: u64, count: u64) -> Vec<Published> {
    let topics = [Some("a"), Some("b"), None];
    (0..count)
        .map(|i| Published {
            number: first_number + i,
            topic: topics[(i % 3) as usize].map(str::to_owned),
            kind: None,
            began: Duration::from_secs(i),
            log,
            outcome: PublishOutcome::Stored(cursor(epoch, i + 1)),
        })
        .collect()
}

fn event(epoch: &str, number: u64, sequence: u64) -> Seen {
    Seen::Event { number, kind: "message".into(), cursor: cursor(epoch, sequence) }
}

fn opened(at: u64) -> Seen {
    Seen::Opened { at: Duration::from_secs(at), broker: 0 }
}

fn gap(requested: Option<String>, resumed: String, lost: Option<u64>, reason: &str) -> Seen {
    Seen::Gap { requested, resumed, lost, reason: reason.into() }
}

fn verdict_of(
    publications: Publications,
    start: Start,
    topics: &[&str],
    seen: Vec<Seen>,
) -> Verdict {
    let filter =
        Filter { topics: topics.iter().map(|&t| t.to_owned()).collect(), ..Filter::default() };
    let observed = Observed { name: "s".into(), filter, start, seen, contact: vec![] };
    judge(publications, &[observed]).verdicts.remove(0)
}

/// One log of nine events, read from its beginning without a filter.
fn nine(seen: Vec<Seen>) -> Verdict {
    let publications = Publications { published: published("e", 0, 0, 9), cuts: vec![] };
    verdict_of(publications, Start::Earliest, &[], seen)
}

fn all_nine() -> Vec<Seen> {
    [opened(0)].into_iter().chain((0..9).map(|n| event("e", n, n + 1))).collect()
}

#[test]
fn everything_once_and_in_order_is_clean() {
    let verdict = nine(all_nine());
    assert_eq!(verdict.offences, []);
    assert_eq!((verdict.due, verdict.delivered, verdict.declared_lost.len()), (9, 9, 0));
}

#[test]
fn a_lost_event_is_found() {
    let mut seen = all_nine();
    seen.remove(4);
    assert_eq!(nine(seen).offences, [Offence::Missing { number: 3, sequence: 4 }]);
    let mut seen = all_nine();
    seen.pop();
    assert_eq!(nine(seen).offences, [Offence::Missing { number: 8, sequence: 9 }]);
    assert_eq!(nine(vec![]).offences.len(), 9);
}

#[test]
fn an_erased_event_is_not_missed_but_may_have_come() {
    let mut publications = Publications { published: published("e", 0, 0, 9), cuts: vec![] };
    publications.published[3].outcome = PublishOutcome::Erased(cursor("e", 4));
    let mut seen = all_nine();
    assert_eq!(verdict_of(publications.clone(), Start::Earliest, &[], seen.clone()).offences, []);
    seen.remove(4);
    assert_eq!(verdict_of(publications.clone(), Start::Earliest, &[], seen.clone()).offences, []);
    seen.remove(4);
    let found = verdict_of(publications, Start::Earliest, &[], seen).offences;
    assert_eq!(found, [Offence::Missing { number: 4, sequence: 5 }]);
}

#[test]
fn an_event_that_was_not_granted_is_found_and_none_is_missed() {
    let publications = Publications { published: published("e", 0, 0, 9), cuts: vec![] };
    let filter = Filter { granted: vec!["a".into()], ..Filter::default() };
    let judged = |seen: Vec<Seen>| {
        let observed = Observed {
            name: "s".into(),
            filter: filter.clone(),
            start: Start::Earliest,
            seen,
            contact: vec![],
        };
        judge(publications.clone(), &[observed]).verdicts.remove(0)
    };
    let granted = |seen: &Seen| !matches!(seen, Seen::Event { number, .. } if number % 3 == 1);
    let mut seen: Vec<Seen> = all_nine().into_iter().filter(granted).collect();
    seen.insert(2, Seen::Renewed);
    seen.push(Seen::Ended(entry::EXPIRED.into()));
    let verdict = judged(seen.clone());
    assert_eq!(verdict.offences, []);
    assert_eq!((verdict.due, verdict.delivered), (6, 6));
    assert_eq!((verdict.renewed, verdict.expired), (1, 1));
    seen.remove(4);
    assert_eq!(judged(seen).offences, [Offence::Missing { number: 3, sequence: 4 }]);
    let not_granted = |number| Offence::NotGranted { number, topic: "b".into() };
    assert_eq!(judged(all_nine()).offences, [1, 4, 7].map(not_granted));
}

#[test]
fn a_repeated_event_is_found() {
    let mut seen = all_nine();
    seen.insert(5, event("e", 3, 4));
    assert_eq!(nine(seen).offences, [Offence::Repeated { number: 3, sequence: 4 }]);
}

#[test]
fn disorder_is_found() {
    let mut seen = all_nine();
    seen.swap(4, 5);
    assert_eq!(nine(seen).offences, [Offence::OutOfOrder { sequence: 4, after: 5 }]);
    let mut seen = all_nine();
    seen.insert(5, Seen::Cursor(cursor("e", 2)));
    assert_eq!(nine(seen).offences, [Offence::OutOfOrder { sequence: 2, after: 4 }]);
}

#[test]
fn what_does_not_pass_the_filter_is_neither_due_nor_welcome() {
    let publications = Publications { published: published("e", 0, 0, 9), cuts: vec![] };
    let due = |n: &u64| n % 3 != 1;
    let mut seen: Vec<_> = (0..9).filter(due).map(|n| event("e", n, n + 1)).collect();
    let verdict = verdict_of(publications.clone(), Start::Earliest, &["a"], seen.clone());
    assert_eq!((verdict.due, verdict.delivered), (6, 6));
    assert_eq!(verdict.offences, []);
    seen.insert(1, event("e", 1, 2));
    let verdict = verdict_of(publications, Start::Earliest, &["a"], seen);
    assert!(matches!(&verdict.offences[..], [Offence::Unexpected { number: 1, .. }]));
}

#[test]
fn wrong_numbers_types_and_cursors_are_found() {
    for wrong in [
        event("e", 77, 4),
        Seen::Event { number: 3, kind: "other".into(), cursor: cursor("e", 4) },
        Seen::Event { number: 3, kind: "message".into(), cursor: "e-4-xyz".into() },
    ] {
        let mut seen = all_nine();
        seen[4] = wrong;
        assert!(matches!(
            &nine(seen).offences[0],
            Offence::Unexpected { .. } | Offence::WrongCursor { number: 3, .. }
        ));
    }
    let mut seen = all_nine();
    seen[4] = event("f", 3, 4);
    assert!(nine(seen).offences.iter().any(|o| matches!(o, Offence::Violation(_))));
}

#[test]
fn a_declared_gap_balances_if_its_count_is_right() {
    let with_gap = |lost| {
        let mut seen = all_nine();
        let gap = gap(Some(cursor("e", 2)), cursor("e", 6), lost, "expired");
        seen.splice(3..7, [Seen::Ended("left".into()), opened(9), gap]);
        nine(seen)
    };
    let verdict = with_gap(Some(4));
    assert_eq!(verdict.offences, []);
    assert_eq!((verdict.due, verdict.delivered, verdict.declared_lost.len()), (9, 5, 4));
    assert!(matches!(&with_gap(Some(3)).offences[..], [Offence::WrongGap(_)]));
    // a gap that begins later than the client's position leaves the difference missing
    let mut seen = all_nine();
    seen.splice(3..7, [gap(Some(cursor("e", 3)), cursor("e", 6), Some(3), "expired")]);
    assert_eq!(nine(seen).offences, [Offence::Missing { number: 2, sequence: 3 }]);
}

#[test]
fn latest_begins_at_the_first_id_but_not_after_the_stream_was_open() {
    let publications = Publications { published: published("e", 0, 0, 9), cuts: vec![] };
    let tail = |opened_at, first: u64| {
        let mut seen = vec![opened(opened_at), Seen::Cursor(cursor("e", first))];
        seen.extend((first..9).map(|n| event("e", n, n + 1)));
        verdict_of(publications.clone(), Start::Latest, &[], seen)
    };
    assert_eq!(tail(4, 5).offences, []);
    // event 5 was published (at 5 s) after the stream was open (at 4 s)
    assert_eq!(tail(4, 6).offences, [Offence::Missing { number: 5, sequence: 6 }]);
    let never = verdict_of(publications, Start::Latest, &[], vec![opened(6)]);
    assert_eq!(never.offences.len(), 2);
}

#[test]
fn a_recreated_log_is_reported_and_read_from_its_beginning() {
    let mut events = published("e", 0, 0, 9);
    events.extend(published("f", 1, 9, 3));
    let publications = Publications { published: events, cuts: vec![0] };
    let reset = gap(Some(cursor("e", 6)), cursor("f", 0), None, "new-incarnation");
    let mut seen: Vec<_> = (0..6).map(|n| event("e", n, n + 1)).collect();
    seen.push(reset.clone());
    seen.extend((0..3).map(|n| event("f", 9 + n, n + 1)));
    let verdict = verdict_of(publications.clone(), Start::Earliest, &[], seen.clone());
    assert_eq!(verdict.offences, []);
    assert_eq!((verdict.due, verdict.delivered, verdict.declared_lost.len()), (12, 9, 3));
    // the first event of the new log is missing
    let mut short = seen.clone();
    short.remove(7);
    let verdict = verdict_of(publications.clone(), Start::Earliest, &[], short);
    assert_eq!(verdict.offences, [Offence::Missing { number: 9, sequence: 1 }]);
    // an event of the old log is missing before the reset
    let mut short = seen.clone();
    short.remove(2);
    let verdict = verdict_of(publications.clone(), Start::Earliest, &[], short);
    assert_eq!(verdict.offences, [Offence::Missing { number: 2, sequence: 3 }]);
    // the reset is never reported
    let silent: Vec<_> = seen.iter().filter(|s| **s != reset).cloned().collect();
    assert!(!verdict_of(publications.clone(), Start::Earliest, &[], silent).offences.is_empty());
    // the reset is reported twice
    seen.push(reset);
    seen.extend((0..3).map(|n| event("f", 9 + n, n + 1)));
    let verdict = verdict_of(publications, Start::Earliest, &[], seen);
    assert!(matches!(&verdict.offences[..], [Offence::WrongGap(_)]));
}

#[test]
fn two_new_logs_in_a_row_are_believed_without_an_event_in_between() {
    let mut events = published("e", 0, 0, 9);
    events.extend(published("f", 1, 9, 3));
    events.extend(published("g", 2, 12, 3));
    let first = gap(Some(cursor("e", 6)), cursor("f", 0), None, "new-incarnation");
    let second = gap(Some(cursor("f", 0)), cursor("g", 0), None, "new-incarnation");
    let mut seen: Vec<_> = (0..6).map(|n| event("e", n, n + 1)).collect();
    seen.extend([first, second]);
    seen.extend((0..3).map(|n| event("g", 12 + n, n + 1)));
    let publications = Publications { published: events, cuts: vec![0, 0] };
    let verdict = verdict_of(publications.clone(), Start::Earliest, &[], seen.clone());
    assert_eq!(verdict.offences, []);
    // there was only one new log: the second report of it was needless
    let mut publications = publications;
    publications.published.retain(|event| event.log != 1);
    publications
        .published
        .iter_mut()
        .filter(|event| event.log == 2)
        .for_each(|event| event.log = 1);
    publications.cuts.pop();
    let verdict = verdict_of(publications, Start::Earliest, &[], seen);
    assert!(matches!(&verdict.offences[..], [Offence::WrongGap(_)]), "{verdict:?}");
}

#[test]
fn an_older_store_keeps_what_survives_and_uses_sequences_again() {
    // nine events; the store goes back to four; five more at sequences 5 to 9
    let mut events = published("e", 0, 0, 9);
    let again = (0..5).map(|i| Published {
        number: 9 + i,
        topic: None,
        kind: None,
        began: Duration::from_secs(20),
        log: 1,
        outcome: PublishOutcome::Stored(format!("e-{}-new", i + 5)),
    });
    events.extend(again);
    let publications = Publications { published: events, cuts: vec![4] };
    let new = |n: u64| Seen::Event {
        number: 9 + n,
        kind: "message".into(),
        cursor: format!("e-{}-new", n + 5),
    };
    let reset = gap(Some(cursor("e", 7)), cursor("e", 0), None, "new-incarnation");
    let old = |count: u64| (0..count).map(|n| event("e", n, n + 1));
    // had seven, gets the reset, the surviving four again and the new five
    let reported: Vec<_> = old(7).chain([reset]).chain(old(4)).chain((0..5).map(new)).collect();
    let verdict = verdict_of(publications.clone(), Start::Earliest, &[], reported);
    assert_eq!(verdict.offences, []);
    assert_eq!((verdict.due, verdict.delivered, verdict.declared_lost.len()), (14, 12, 2));
    // had four: resumes without a report
    let resumed: Vec<_> = old(4).chain((0..5).map(new)).collect();
    assert_eq!(verdict_of(publications.clone(), Start::Earliest, &[], resumed).offences, []);
    // had nine, gets no report: the new events are behind its cursor
    let unreported: Vec<_> = old(9).collect();
    assert!(!verdict_of(publications, Start::Earliest, &[], unreported).offences.is_empty());
}

#[test]
fn an_unknown_outcome_may_come_but_then_to_everybody() {
    let mut events = published("e", 0, 0, 9);
    events[4].outcome = PublishOutcome::Unknown;
    let publications = Publications { published: events, cuts: vec![] };
    let observed = |name: &str, seen| Observed {
        name: name.into(),
        filter: Filter::default(),
        start: Start::Earliest,
        seen,
        contact: vec![],
    };
    let mut without = all_nine();
    without.remove(5);
    let report = judge(publications.clone(), &[observed("without", without.clone())]);
    assert!(report.is_clean() && report.unknown == 1, "{report}");
    let both = [observed("with", all_nine()), observed("without", without)];
    let report = judge(publications, &both);
    assert_eq!(report.verdicts[0].offences, []);
    assert_eq!(report.verdicts[1].offences, [Offence::Missing { number: 4, sequence: 5 }]);
    assert!(report.to_string().contains("without: due 9, delivered 8"), "{report}");
}

#[test]
fn an_event_that_was_not_stored_must_not_arrive_and_cursors_are_unique() {
    let mut events = published("e", 0, 0, 9);
    events[4].outcome = PublishOutcome::NotStored;
    let publications = Publications { published: events, cuts: vec![] };
    let verdict = verdict_of(publications, Start::Earliest, &[], all_nine());
    assert!(matches!(&verdict.offences[..], [Offence::Unexpected { number: 4, .. }]));
    let mut events = published("e", 0, 0, 2);
    events[1].outcome = events[0].outcome.clone();
    let report = judge(Publications { published: events, cuts: vec![] }, &[]);
    assert_eq!(report.problems.len(), 1);
}

/// Ways to begin after five of nine events, at the opening of a stream at 6 seconds, when seven were published.
fn starts_after_five() -> Vec<Start> {
    let seconds = Duration::from_secs_f64;
    vec![
        Start::Latest,
        Start::Default,
        Start::Last(2),
        Start::Ago(seconds(1.2)),
        Start::Time(seconds(4.5)),
        Start::Cursor(cursor("e", 5)),
    ]
}

#[test]
fn a_silent_loss_is_found_wherever_a_subscriber_began() {
    let judged = |start: &Start, seen: &[Seen]| {
        let publications = Publications { published: published("e", 0, 0, 9), cuts: vec![] };
        verdict_of(publications, start.clone(), &[], seen.to_vec()).offences
    };
    let missing = |numbers: std::ops::Range<u64>| -> Vec<Offence> {
        numbers.map(|number| Offence::Missing { number, sequence: number + 1 }).collect()
    };
    let with_cursor = |first: u64| [opened(6), Seen::Cursor(cursor("e", first)), Seen::Left];
    let back = |first: u64| {
        let rest = (first..9).map(|n| event("e", n, n + 1));
        [opened(8), Seen::Cursor(cursor("e", first))].into_iter().chain(rest)
    };
    let starts = starts_after_five().into_iter().map(|start| (start, 5));
    for (start, first) in starts.chain([(Start::Earliest, 0)]) {
        let whole: Vec<_> = with_cursor(first).into_iter().chain(back(first)).collect();
        assert_eq!(judged(&start, &whole), [], "{start:?}");
        let mut without_six = whole.clone();
        without_six.retain(|seen| !matches!(seen, Seen::Event { number: 6, .. }));
        assert_eq!(judged(&start, &without_six), missing(6..7), "{start:?}");
        // it got a cursor, left, and was put somewhere else when it came back
        let moved: Vec<_> = with_cursor(first).into_iter().chain(back(8)).collect();
        assert_eq!(judged(&start, &moved), missing(first..8), "{start:?}");
        // it got no cursor, left, and began again with the same request
        let without_cursor: Vec<_> = [opened(6), Seen::Left].into_iter().chain(back(8)).collect();
        let found = judged(&start, &without_cursor);
        assert!(found.contains(&missing(7..8)[0]), "{start:?}: {found:?}");
        // a stream that broke before its first cursor began nowhere, unless the start is a position
        let broken = [opened(6), Seen::Ended("reset".into())].into_iter().chain(back(8));
        let found = judged(&start, &broken.collect::<Vec<_>>());
        let is_place =
            matches!(start, Start::Earliest | Start::Cursor(_) | Start::Time(_) | Start::Ago(_));
        assert_eq!(found.contains(&missing(7..8)[0]), is_place, "{start:?}: {found:?}");
    }
}

#[test]
fn the_newest_of_a_filter_are_counted_at_the_opening() {
    let last = |asked: usize, topics: &[&str], count: u64, first: u64| {
        let publications = Publications { published: published("e", 0, 0, count), cuts: vec![] };
        let passes = |n: &u64| topics.is_empty() || n % 3 != 1;
        let mut seen = vec![opened(6), Seen::Cursor(cursor("e", first))];
        seen.extend((first..count).filter(passes).map(|n| event("e", n, n + 1)));
        verdict_of(publications, Start::Last(asked), topics, seen).offences
    };
    assert_eq!(last(2, &[], 9, 5), []);
    assert_eq!(last(3, &[], 9, 5), [Offence::BeganLate { asked: 3, held: 2 }]);
    assert_eq!(last(50, &[], 9, 0), [], "there are no more");
    // of the first seven events 0, 2, 3, 5 and 6 pass
    assert_eq!(last(3, &["a"], 9, 3), []);
    assert_eq!(last(4, &["a"], 9, 3), [Offence::BeganLate { asked: 4, held: 3 }]);
}
