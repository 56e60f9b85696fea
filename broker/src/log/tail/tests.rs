use eventcast_wire::{cursor::Epoch, event::Kind, frame::Chunk};
use proptest::prelude::*;

use super::*;
use crate::metrics::Metrics;

fn event(sequence: u64, size: usize) -> Event {
    Event {
        sequence,
        nanos: i64::try_from(sequence).unwrap() * 1000,
        check: Check::of_time(i64::try_from(sequence).unwrap() * 1000),
        kind: Kind::Data,
        topic: None,
        event_type: None,
        source: None,
        id: None,
        trace: None,
        expires: None,
        chunk: Chunk::of(&vec![b'x'; size]),
        received: None,
    }
}

fn tail(events: usize, bytes: usize, start: u64) -> (Tail, Arc<ChannelMetrics>) {
    let metrics = Metrics::new().unwrap().channel("a/b");
    let tail = Tail::new(TailBudget { events, bytes }, Arc::clone(&metrics));
    let incarnation = Incarnation { number: 1, epoch: Epoch::mint(7), first_sequence: 1 };
    tail.begin(incarnation, start);
    tail.set_ready(start - 1);
    (tail, metrics)
}

fn at(sequence: u64) -> Position {
    Position { incarnation: 1, sequence, check: Check::ABSENT }
}

#[test]
fn a_smaller_budget_evicts_the_oldest_events_at_once() {
    let weight = event(1, 1000).weight();
    let (tail, metrics) = tail(100, 100 * weight, 1);
    for sequence in 1..=50 {
        tail.push(event(sequence, 1000));
    }
    assert_eq!(tail.bounds(), (1, 50));
    tail.resize(10 * weight);
    assert_eq!(tail.bounds(), (41, 50));
    assert_eq!(metrics.tail_bytes.get(), i64::try_from(10 * weight).unwrap());
    assert_eq!(metrics.tail_events.get(), 10);
    assert!(matches!(tail.read(&at(39), u64::MAX), TailRead::BelowTail));
    let TailRead::Events(events) = tail.read(&at(40), u64::MAX) else {
        panic!("the tail covers 41");
    };
    assert_eq!(events.len(), 10);
    assert_eq!(
        tail.check_at(40),
        Some(Some(Check::of_time(40_000))),
        "the check just below the ring"
    );
    assert_eq!(tail.check_at(39), None);
    tail.resize(1);
    assert_eq!(tail.bounds(), (50, 50), "the newest event always stays");
    tail.resize(3 * weight);
    tail.push(event(51, 1000));
    assert_eq!(tail.bounds(), (50, 51), "a larger budget does not bring evicted events back");
}

#[test]
fn a_budget_outlives_the_incarnation() {
    let weight = event(1, 1000).weight();
    let (tail, _) = tail(100, 100 * weight, 1);
    tail.resize(2 * weight);
    let next = Incarnation { number: 2, epoch: Epoch::mint(8), first_sequence: 1 };
    tail.begin(next, 1);
    for sequence in 1..=9 {
        tail.push(event(sequence, 1000));
    }
    assert_eq!(tail.bounds(), (8, 9));
}

fn sequences(reading: TailRead) -> Vec<u64> {
    let TailRead::Events(events) = reading else { panic!("{reading:?}") };
    events.iter().map(|e| e.sequence).collect()
}

#[test]
fn deleted_events_leave_the_tail_and_are_declared_lost() {
    let (tail, metrics) = tail(100, 1 << 20, 1);
    (1..=10).for_each(|sequence| tail.push(event(sequence, 10)));
    assert!(tail.remove(4, &[6, 10, 99]));
    assert_eq!((tail.bounds(), tail.first_sequence()), ((4, 10), 4));
    assert_eq!(sequences(tail.read_events(&at(3))), [4, 5, 7, 8, 9]);
    let TailRead::Expired(to) = tail.read_events(&at(1)) else {
        panic!("the events after 1 are deleted")
    };
    assert_eq!(to, at(3), "everything before the first sequence is lost");
    assert_eq!(tail.start(), Some(at(3)));
    assert_eq!(metrics.tail_bytes.get(), i64::try_from(5 * event(4, 10).weight()).unwrap());
    let head = tail.head().unwrap();
    assert_eq!((head.sequence, head.check), (10, event(10, 10).check), "the head keeps its check");
    assert_eq!(tail.range(1, 4, 10).map(|e| e.len()), Some(5));
    assert!(!tail.remove(2, &[]), "the first sequence never moves back");
    assert_eq!(tail.first_sequence(), 4);
    assert!(tail.remove(500, &[]), "a purge");
    assert_eq!(
        (tail.bounds(), tail.first_sequence()),
        ((11, 10), 11),
        "events in transit are not lost"
    );
    assert_eq!(sequences(tail.read_events(&at(10))), [0; 0]);
    tail.push(event(11, 10));
    assert_eq!(sequences(tail.read_events(&at(10))), [11]);
}

#[test]
fn evicted_events_are_not_declared_lost() {
    let (tail, _) = tail(100, 1 << 20, 1);
    (1..=10).for_each(|sequence| tail.push(event(sequence, 10)));
    tail.evict_before(event(8, 10).nanos);
    assert!(
        matches!(tail.read_events(&at(6)), TailRead::BelowTail),
        "the stream may still have it"
    );
    assert_eq!(sequences(tail.read_events(&at(7))), [8, 9, 10]);
    tail.clear();
    assert!(matches!(tail.read_events(&at(9)), TailRead::BelowTail));
    assert_eq!((tail.bounds(), tail.first_sequence()), ((11, 10), 1));
}

#[test]
fn a_missing_stream_is_not_served() {
    let (tail, _) = tail(100, 1 << 20, 1);
    (1..=10).for_each(|sequence| tail.push(event(sequence, 10)));
    tail.withhold();
    assert!(matches!(tail.read_events(&at(3)), TailRead::NotReady));
    assert!(tail.range(1, 1, 10).is_none());
    assert!(tail.anchor().is_some(), "if the stream comes back, reading resumes at the anchor");
    tail.set_ready(10);
    assert_eq!(sequences(tail.read_events(&at(3))).len(), 7);
}

#[derive(Clone, Debug)]
enum Step {
    /// The next event, after `absent` sequences without one.
    Push {
        absent: u64,
        size: usize,
    },
    Resize {
        bytes: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..3u64, 1..4000usize).prop_map(|(absent, size)| Step::Push { absent, size }),
        1 => (1..60_000usize).prop_map(|bytes| Step::Resize { bytes }),
    ]
}

proptest! {
    /// The tail reports its coverage exactly while its budget changes.
    #[test]
    fn coverage_is_exact_while_budgets_change(
        start in 1u64..1000,
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        const EVENTS: usize = 24;
        let (mut bytes, mut high) = (20_000, start - 1);
        let (tail, metrics) = tail(EVENTS, bytes, start);
        // The events that should be in the tail, and the last one evicted.
        let (mut held, mut left) = (Vec::<(u64, usize)>::new(), None);
        for step in steps {
            match step {
                Step::Push { absent, size } => {
                    high += absent + 1;
                    tail.push(event(high, size));
                    held.push((high, event(high, size).weight()));
                }
                Step::Resize { bytes: new } => {
                    bytes = new;
                    tail.resize(bytes);
                }
            }
            let weigh = |held: &[(u64, usize)]| held.iter().map(|(_, weight)| weight).sum::<usize>();
            while held.len() > EVENTS || (weigh(&held) > bytes && held.len() > 1) {
                left = Some(held.remove(0).0);
            }
            let low = left.map_or(start, |left| left + 1);
            prop_assert_eq!(tail.bounds(), (low, high));
            prop_assert_eq!(usize::try_from(metrics.tail_bytes.get()).unwrap(), weigh(&held));
            let TailRead::Events(events) = tail.read_events(&at(low - 1)) else {
                panic!("the tail covers {low} and later");
            };
            let read: Vec<_> = events.iter().map(|e| e.sequence).collect();
            prop_assert_eq!(read, held.iter().map(|(s, _)| *s).collect::<Vec<_>>());
            if low > 1 {
                let below = tail.read_events(&at(low - 2));
                prop_assert!(matches!(below, TailRead::BelowTail));
                prop_assert!(tail.range(1, low - 1, high).is_none());
            }
            if let Some(left) = left {
                prop_assert_eq!(tail.check_at(left), Some(Some(Check::of_time(left as i64 * 1000))));
            }
            prop_assert_eq!(tail.range(1, low, high).map(|e| e.len()), Some(held.len()));
        }
    }
}
