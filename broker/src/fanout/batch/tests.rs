//! Batches of pages and rings against the plain rule: what passes, its chunks one after the other, cut anywhere.

use eventcast_wire::{
    cursor::Check,
    event::Kind,
    filter::Asked,
    frame::{Chunk, Form},
    grants::Topics,
};
use proptest::prelude::*;

use super::*;
use crate::delivery::DeliveryLedger;

/// Before and after any present.
const PAST: i64 = 1;
const FUTURE: i64 = i64::MAX;

/// Events in order with gaps between them; some of them large, where `large` says so.
fn events(large: bool) -> impl Strategy<Value = Vec<Event>> {
    let kind =
        prop_oneof![8 => Just(Kind::Data), 1 => Just(Kind::Invalid), 1 => Just(Kind::Marker)];
    let expires = prop_oneof![8 => Just(None), 1 => Just(Some(PAST)), 1 => Just(Some(FUTURE))];
    let bytes = if large {
        prop_oneof![2 => 1usize..60, 3 => 1_000usize..30_000].boxed()
    } else {
        (1usize..60).boxed()
    };
    let topic = proptest::option::of("[ab](\\.[ab])?");
    let one = (1u64..4, kind, expires, topic, bytes);
    // plain ones are a case of their own: they go out as they lie
    (proptest::collection::vec(one, 1..90), any::<bool>()).prop_map(|(drawn, plain)| {
        let mut sequence = 0;
        let event = |(gap, kind, expires, topic, bytes): (u64, Kind, _, Option<String>, usize)| {
            sequence += gap;
            let (kind, expires) = if plain { (Kind::Data, None) } else { (kind, expires) };
            let text = format!("{sequence} {}", "x".repeat(bytes));
            let frame = if kind == Kind::Marker { "" } else { &text };
            Event {
                sequence,
                nanos: 1,
                check: Check::ABSENT,
                kind,
                topic: topic.map(Into::into),
                event_type: None,
                source: None,
                id: None,
                trace: None,
                expires,
                chunk: Chunk::of(frame.as_bytes()),
                received: None,
            }
        };
        drawn.into_iter().map(event).collect()
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let topics = prop_oneof![Just(Vec::new()), proptest::collection::vec("[ab*](\\.[ab*])?", 1..3)];
    (topics, any::<bool>()).prop_map(|(topics, quiet)| {
        let mut filter = Asked::default();
        topics.iter().for_each(|t| filter.add_topic(t).unwrap());
        if quiet && !topics.is_empty() {
            filter.exclude_broadcast();
        }
        Topics::everything().narrow(filter).unwrap()
    })
}

/// Where a batch comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Ring,
    Read,
    /// A page of the tail that grows no more.
    Tail,
    /// The page of the head.
    Head,
}

fn batch(events: Vec<Event>, from: Origin, skip: usize) -> Batch {
    let high = events.last().map_or(1, |e| e.sequence);
    let end = Position { incarnation: 1, sequence: high, check: Check::ABSENT };
    let skip = skip % events.len();
    let shared = |events: Vec<Event>| events.into_iter().map(Arc::new).collect::<Vec<_>>();
    let page = match from {
        Origin::Ring => {
            let ring: Vec<_> = shared(events).into_iter().skip(skip).take(64).collect();
            return Batch::of_ring(ring, end);
        }
        Origin::Read => Page::from_log_for_test(1, high, events),
        Origin::Tail => Page::from_tail_for_test(1, 255, shared(events)),
        Origin::Head => Page::from_tail_for_test(1, 254, shared(events)),
    };
    Batch::of_page(Arc::new(page), skip, end)
}

fn concatenated(slices: &Slices<'_>) -> Vec<u8> {
    slices.as_slice().iter().flat_map(|slice| slice.to_vec()).collect()
}

/// Every number of written bytes; of many, those around the ends of events.
fn places(bytes: usize, ends: &[usize]) -> Vec<usize> {
    if bytes <= 4000 {
        return (0..bytes).collect();
    }
    let around = ends.iter().flat_map(|end| end.saturating_sub(2)..end + 3);
    around.chain([0, 1]).filter(|n| *n < bytes).collect()
}

fn check(batch: &Batch, filter: &Filter, form: Form) -> Result<(), TestCaseError> {
    let slices = batch.slices(filter, form);
    let passes = |e: &Event| e.kind != Kind::Marker && e.expires != Some(PAST) && filter.passes(e);
    let taken = &batch.events()[..slices.events];
    prop_assert!(!taken.is_empty(), "it gets nowhere");
    let whole: Vec<u8> =
        taken.iter().filter(|e| passes(e)).flat_map(|e| e.chunk.bytes(form).to_vec()).collect();
    let written = concatenated(&slices);
    prop_assert_eq!(slices.bytes, written.len());
    prop_assert!(written == whole, "other bytes than of what passes");
    if slices.events < batch.events().len() {
        let full = slices.as_slice().len() + 1 >= MAX_SLICES || slices.bytes >= WRITE_BYTES;
        prop_assert!(full, "it stopped after {} events", slices.events);
    }
    // where each that passes ends, and its number
    let mut ends = Vec::new();
    for (at, event) in taken.iter().enumerate().filter(|(_, e)| passes(e)) {
        let before = ends.last().map_or(0, |(_, end)| *end);
        ends.push((at, before + event.chunk.bytes(form).len()));
    }
    prop_assert_eq!(batch.cut(filter, form, 0), None);
    let borders: Vec<_> = ends.iter().map(|(_, end)| *end).collect();
    for n in places(slices.bytes, &borders).into_iter().filter(|n| *n > 0) {
        let (at, end) = ends[ends.partition_point(|(_, end)| *end < n)];
        prop_assert_eq!(batch.cut(filter, form, n), Some((at, end - n)), "{} written", n);
        prop_assert!(batch.rest(at, end - n, form) == whole[n..end], "the rest after {} bytes", n);
    }
    Ok(())
}

fn sum_of(mut sum: DeliveryLedger, other: DeliveryLedger) -> DeliveryLedger {
    sum += other;
    sum
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_batch_is_what_passes_and_can_be_cut_anywhere(
        events in prop_oneof![3 => events(false), 1 => events(true)],
        filter in filter(),
        from in prop_oneof![
            Just(Origin::Ring), Just(Origin::Read), Just(Origin::Tail), Just(Origin::Head)
        ],
        skip in 0usize..100,
        form in prop_oneof![Just(Form::Chunk), Just(Form::Frame)],
    ) {
        check(&batch(events, from, skip), &filter, form)?;
    }

    /// Whether events are counted one by one, as whole pages or one batch after another, the ledger is the same.
    #[test]
    fn accounts_add_up_however_events_are_taken(
        events in events(false),
        filter in filter(),
        from in prop_oneof![Just(Origin::Ring), Just(Origin::Read), Just(Origin::Head)],
        skip in 0usize..100,
        cut in 0usize..100,
    ) {
        let batch = batch(events, from, skip);
        let before = batch.events()[0].sequence - 1;
        let start = Position { incarnation: 1, sequence: before, check: Check::ABSENT };
        let count = batch.events().len();
        let all = batch.account(&start, 0..count, &filter, Taken::All);
        prop_assert_eq!(all.position, batch.end);
        prop_assert_eq!(all.ledger.total(), batch.end.sequence - before, "every sequence has one outcome");

        let cut = 1 + cut % count;
        let first = batch.account(&start, 0..cut, &filter, Taken::All);
        let mut sum = first.ledger;
        if cut < count {
            sum += batch.account(&first.position, cut..count, &filter, Taken::All).ledger;
        }
        prop_assert_eq!(sum, all.ledger);

        let (mut single, mut position, mut from, mut last) = (DeliveryLedger::default(), start, 0, None);
        loop {
            let one = batch.account(&position, from..count, &filter, Taken::UpToOne);
            (single, position) = (sum_of(single, one.ledger), one.position);
            let Some(at) = one.last_sent else { break };
            (from, last) = (at + 1, Some(at));
            if from == count {
                break;
            }
        }
        prop_assert_eq!(single, all.ledger);
        prop_assert_eq!((position, last), (all.position, all.last_sent));
    }

    #[test]
    fn chunks_packed_chunks_are_the_chunks(events in events(true), span in (0usize..90, 0usize..90)) {
        let total: usize = events.iter().map(|e| e.chunk.wire().len()).sum();
        let (a, b) = (span.0 % (events.len() + 1), span.1 % (events.len() + 1));
        let (from, to) = (a.min(b), a.max(b));
        let page = Page::from_log_for_test(1, events[events.len() - 1].sequence, events);
        let chunks: Vec<u8> =
            page.events[from..to].iter().flat_map(|e| e.chunk.wire().to_vec()).collect();
        let packed = page.packed_chunks(from, to);
        prop_assert_eq!(packed.is_some(), total <= 256 << 10);
        prop_assert!(packed.is_none_or(|packed| packed == chunks), "other bytes");
    }
}
