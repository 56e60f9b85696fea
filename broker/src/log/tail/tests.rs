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
fn a_tail_that_shrinks_lets_its_oldest_go_at_once() {
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
    assert!(matches!(tail.read(&at(39), u64::MAX), Reading::Below));
    let Reading::Events(events) = tail.read(&at(40), u64::MAX) else {
        panic!("the tail covers 41");
    };
    assert_eq!(events.len(), 10);
    assert_eq!(tail.check_at(40), Some(Some(Check::of_time(40_000))), "the anchor just below");
    assert_eq!(tail.check_at(39), None);
    tail.resize(1);
    assert_eq!(tail.bounds(), (50, 50), "the newest stays, whatever it costs");
    tail.resize(3 * weight);
    tail.push(event(51, 1000));
    assert_eq!(tail.bounds(), (50, 51), "what grows again takes what comes, and nothing back");
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

fn sequences(reading: Reading) -> Vec<u64> {
    let Reading::Events(events) = reading else { panic!("{reading:?}") };
    events.iter().map(|e| e.sequence).collect()
}

#[test]
fn what_the_stream_has_dropped_is_forgotten_and_told() {
    let (tail, metrics) = tail(100, 1 << 20, 1);
    (1..=10).for_each(|sequence| tail.push(event(sequence, 10)));
    assert!(tail.forget(4, &[6, 10, 99]));
    assert_eq!((tail.bounds(), tail.first()), ((4, 10), 4));
    assert_eq!(sequences(tail.read_on(&at(3))), [4, 5, 7, 8, 9]);
    let Reading::Expired(to) = tail.read_on(&at(1)) else { panic!("1 cannot be read on from") };
    assert_eq!(to, at(3), "everything before the stream's beginning is lost");
    assert_eq!(tail.beginning(), Some(at(3)));
    assert_eq!(metrics.tail_bytes.get(), i64::try_from(5 * event(4, 10).weight()).unwrap());
    let head = tail.head().unwrap();
    assert_eq!((head.sequence, head.check), (10, event(10, 10).check), "the head keeps its check");
    assert_eq!(tail.span(1, 4, 10).map(|e| e.len()), Some(5));
    assert!(!tail.forget(2, &[]), "nothing comes back");
    assert_eq!(tail.first(), 4);
    assert!(tail.forget(500, &[]), "a purge");
    assert_eq!((tail.bounds(), tail.first()), ((11, 10), 11), "what is on its way is not lost");
    assert_eq!(sequences(tail.read_on(&at(10))), [0; 0]);
    tail.push(event(11, 10));
    assert_eq!(sequences(tail.read_on(&at(10))), [11]);
}

#[test]
fn what_may_be_gone_is_let_go_but_not_told() {
    let (tail, _) = tail(100, 1 << 20, 1);
    (1..=10).for_each(|sequence| tail.push(event(sequence, 10)));
    tail.evict_before(event(8, 10).nanos);
    assert!(matches!(tail.read_on(&at(6)), Reading::Below), "the stream may still have it");
    assert_eq!(sequences(tail.read_on(&at(7))), [8, 9, 10]);
    tail.forget_all();
    assert!(matches!(tail.read_on(&at(9)), Reading::Below));
    assert_eq!((tail.bounds(), tail.first()), ((11, 10), 1));
}

#[test]
fn of_a_stream_that_is_not_there_nothing_is_given() {
    let (tail, _) = tail(100, 1 << 20, 1);
    (1..=10).for_each(|sequence| tail.push(event(sequence, 10)));
    tail.withhold();
    assert!(matches!(tail.read_on(&at(3)), Reading::NotReady));
    assert!(tail.span(1, 1, 10).is_none());
    assert!(tail.anchor().is_some(), "if it comes back, reading goes on where it ended");
    tail.set_ready(10);
    assert_eq!(sequences(tail.read_on(&at(3))).len(), 7);
}

#[derive(Clone, Debug)]
enum Step {
    /// The next event, after `absent` sequences that the log has none for.
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
    /// What the tail covers is told exactly, however its budget moves.
    #[test]
    fn coverage_stays_right_while_budgets_move(
        start in 1u64..1000,
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        const EVENTS: usize = 24;
        let (mut bytes, mut high) = (20_000, start - 1);
        let (tail, metrics) = tail(EVENTS, bytes, start);
        // What should be there, and what left last.
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
            let Reading::Events(events) = tail.read_on(&at(low - 1)) else {
                panic!("covered from {low} on");
            };
            let read: Vec<_> = events.iter().map(|e| e.sequence).collect();
            prop_assert_eq!(read, held.iter().map(|(s, _)| *s).collect::<Vec<_>>());
            if low > 1 {
                let below = tail.read_on(&at(low - 2));
                prop_assert!(matches!(below, Reading::Below));
                prop_assert!(tail.span(1, low - 1, high).is_none());
            }
            if let Some(left) = left {
                prop_assert_eq!(tail.check_at(left), Some(Some(Check::of_time(left as i64 * 1000))));
            }
            prop_assert_eq!(tail.span(1, low, high).map(|e| e.len()), Some(held.len()));
        }
    }
}
