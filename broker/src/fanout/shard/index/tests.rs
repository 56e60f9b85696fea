//! The index against the filter itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use eventcast_wire::{
    cursor::Check, filter::Asked, frame::Chunk, grants::Topics, source::SourcePattern,
};
use proptest::prelude::*;

use super::*;

fn filter() -> impl Strategy<Value = Arc<Filter>> {
    let names = || {
        let name =
            prop_oneof!["[ab*](\\.[ab*]){0,2}", "[ab*](\\.[ab*]){0,2}\\.>", Just(">".to_owned())];
        prop_oneof![3 => Just(Vec::new()), 5 => proptest::collection::vec(name, 1..4)]
    };
    let sources = proptest::collection::vec("[xy]", 0..2);
    (names(), names(), sources, any::<bool>()).prop_map(|(topics, types, sources, quiet)| {
        let mut filter = Asked::default();
        topics.iter().for_each(|t| filter.add_topic(t).unwrap());
        types.iter().for_each(|t| filter.add_type(t).unwrap());
        sources.iter().for_each(|s| filter.add_source(SourcePattern::parse(s).unwrap()));
        if quiet {
            filter.exclude_broadcast();
        }
        Arc::new(Topics::everything().narrow(filter).unwrap())
    })
}

fn event() -> impl Strategy<Value = Event> {
    let name = || proptest::option::of("[abc](\\.[abc]){0,3}");
    let kind = prop_oneof![Just(Kind::Data), Just(Kind::Invalid), Just(Kind::Marker)];
    (kind, name(), name(), proptest::option::of("[xy]")).prop_map(|(kind, topic, name, source)| {
        Event {
            sequence: 1,
            nanos: 1,
            check: Check::ABSENT,
            kind,
            topic: topic.map(Into::into),
            event_type: name.map(Into::into),
            source: source.map(Into::into),
            id: None,
            trace: None,
            expires: None,
            chunk: Chunk::default(),
            received: None,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn it_finds_every_subscriber_whose_filter_passes_once(
        filters in proptest::collection::vec((filter(), any::<bool>()), 0..30),
        events in proptest::collection::vec(event(), 1..20),
    ) {
        let mut index = Index::default();
        let keyed = || (0u32..).zip(&filters);
        keyed().for_each(|(key, (filter, _))| index.insert(key, filter));
        keyed().filter(|(_, (_, stays))| !stays).for_each(|(key, (f, _))| index.remove(key, f));
        let there: Vec<_> = keyed().filter(|(_, (_, stays))| *stays).collect();
        prop_assert_eq!(index.len(), there.len());
        for event in &events {
            let due: BTreeSet<_> =
                there.iter().filter(|(_, (f, _))| f.passes(event)).map(|(key, _)| *key).collect();
            let mut found = Vec::new();
            index.select(event, |key| found.push(key));
            let distinct: BTreeSet<_> = found.iter().copied().collect();
            prop_assert_eq!(distinct.len(), found.len(), "somebody twice");
            prop_assert_eq!(distinct, due);
        }
        let mut all = index.keys();
        all.sort_unstable();
        prop_assert_eq!(all, there.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        there.iter().for_each(|(key, (filter, _))| index.remove(*key, filter));
        prop_assert!(index.len() == 0 && index.by_topic.is_empty() && index.by_type.is_empty());
        prop_assert!(index.broadcast.is_empty() && index.typed.is_empty() && index.others.is_empty());
    }

    #[test]
    fn keys_that_come_and_go_leave_nothing_behind(
        turns in proptest::collection::vec((0u32..8, filter()), 1..80),
        events in proptest::collection::vec(event(), 1..6),
    ) {
        let mut index = Index::default();
        let mut there: BTreeMap<_, Arc<Filter>> = BTreeMap::new();
        for (key, filter) in turns {
            match there.remove(&key) {
                Some(was) => index.remove(key, &was),
                None => {
                    index.insert(key, &filter);
                    there.insert(key, filter);
                }
            }
            prop_assert_eq!(index.len(), there.len());
            for event in &events {
                let mut found = Vec::new();
                index.select(event, |key| found.push(key));
                found.sort_unstable();
                let due: Vec<_> =
                    there.iter().filter(|(_, f)| f.passes(event)).map(|(key, _)| *key).collect();
                prop_assert_eq!(found, due);
            }
        }
        there.iter().for_each(|(key, filter)| index.remove(*key, filter));
        prop_assert!(index.len() == 0 && index.by_topic.is_empty() && index.by_type.is_empty());
        prop_assert!(index.broadcast.is_empty() && index.typed.is_empty() && index.others.is_empty());
    }
}
