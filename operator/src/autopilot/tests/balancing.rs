//! Orders to close streams: whom they reach, how low they go, and that they end.

use proptest::prelude::*;

use super::*;

/// Looks at the same brokers until orders are given, at most `looks` times.
fn first_orders(spec: &Spec, all: &[Broker], looks: u64, memory: &mut Memory) -> Option<Orders> {
    let replicas = i32::try_from(all.len()).unwrap();
    (0..looks)
        .find_map(|n| plan(seconds(n * LOOK), spec, &deployment(replicas), all, memory).orders)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn only_brokers_with_far_too_many_streams_close_some(
        streams in prop::collection::vec(0u64..20_000, 2..40), target in prop::option::of(1u32..15_000),
    ) {
        let max = i32::try_from(streams.len()).unwrap(); // no broker can be added
        let spec = spec(target.map(|target| scaling(max, max, target)));
        let orders = first_orders(&spec, &brokers(&streams), 10, &mut Memory::default());
        let mean = streams.iter().sum::<u64>() as f64 / streams.len() as f64;
        let floor = (mean + 4.0 * mean.sqrt()).max(f64::from(target.unwrap_or(0)));
        let fullest = streams.iter().copied().max().unwrap() as f64;
        let Some(orders) = orders else {
            let noise = (0.05 * floor).max(mean.sqrt()) + 3.0;
            prop_assert!(fullest <= (1.25 * mean + 1.0).max(floor + noise).max(1.155 * mean));
            return Ok(());
        };
        prop_assert!(fullest > 1.25 * mean && fullest > floor);
        let ceiling = orders.ceiling as f64;
        prop_assert!(ceiling > 1.1 * mean - 1e-6 && ceiling >= floor);
        let over = (0..).zip(&streams).filter(|(_, streams)| **streams > orders.ceiling);
        let over: Vec<_> = over.map(|(index, _)| format!("broker-{index:03}")).collect();
        prop_assert!(!over.is_empty() && over.len() < streams.len(), "never all of them");
        prop_assert_eq!(over, orders.brokers);
        prop_assert_eq!(orders.duration, seconds(60));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Where all clients come back to the broker that has closed them.
    #[test]
    fn what_does_not_help_is_given_up_within_its_budget(
        base in 50u64..2000, more in prop::collection::vec(0u64..6000, 1..10), rest in 1usize..10,
        pace in 1000u64..20_000,
    ) {
        const LOOK: u64 = 100; // many hours in few looks
        let streams: Vec<u64> =
            more.iter().map(|more| base + more).chain(std::iter::repeat_n(base, rest)).collect();
        let (spec, mut memory) = (spec(None), Memory::default());
        let mut all = brokers(&streams);
        let replicas = i32::try_from(all.len()).unwrap();
        let (mut due, mut moved, mut given_up) = (0, 0, Vec::new());
        let mut step = pace;
        for n in 0..600 {
            let now = seconds(n * LOOK);
            let plan = plan(now, &spec, &deployment(replicas), &all, &mut memory);
            for item in &plan.events {
                match item {
                    AutopilotEvent::Rebalancing { streams, .. } => (due, moved) = (*streams, 0),
                    AutopilotEvent::RebalanceGivenUp { why, moved: reported, retry_in } => {
                        prop_assert_eq!((*why, *reported), (GivenUp::Futile, moved));
                        prop_assert!(moved <= (due * 3 / 10 + 1).max(100) + step, "{moved} of {due}");
                        given_up.push((now, *retry_in));
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            let ordered: Vec<_> = plan.orders.into_iter().flat_map(|orders| orders.brokers).collect();
            step = pace * ordered.len() as u64;
            for broker in all.iter_mut().filter(|broker| ordered.contains(&broker.name)) {
                broker.count.as_mut().unwrap().shed += pace;
                moved += pace;
            }
            if let Some(state) = plan.balanced.filter(|_| n > 3 && due > 0) {
                let expected = if ordered.is_empty() { Balanced::Futile } else { Balanced::Shedding };
                prop_assert_eq!(state.reason, expected);
            }
        }
        for (pair, length) in given_up.windows(2).zip([1, 2, 4, 8, 16, 24]) {
            let pause = seconds(length * 3600);
            prop_assert_eq!(pair[0].1, pause, "doubled");
            prop_assert!(pair[1].0 - pair[0].0 >= pause, "nothing in the pause");
        }
        prop_assert!(due == 0 || !given_up.is_empty());
    }
}

/// Placement at random is not an imbalance, however few streams there are.
#[test]
fn random_placement_is_left_alone() {
    let mut rng = fastrand::Rng::with_seed(7);
    for n in 0..1200 {
        let mut streams = vec![0; [2, 3, 4, 8, 20, 50][n % 6]];
        for _ in 0..rng.u64(0..3000) {
            let index = rng.usize(0..streams.len());
            streams[index] += 1;
        }
        let orders = first_orders(&spec(None), &brokers(&streams), 6, &mut Memory::default());
        assert_eq!(orders, None, "{streams:?}");
    }
}

fn imbalanced() -> Vec<Broker> {
    brokers(&[1000, 1000, 200, 200])
}

/// Looks in order, with the same memory.
fn look(n: u64, spec: &Spec, all: &[Broker], memory: &mut Memory) -> Plan {
    plan(seconds(n * LOOK), spec, &deployment(4), all, memory)
}

#[test]
fn only_what_is_far_too_much_counts_as_imbalance() {
    let imbalance = |streams: &[u64], target: Option<u32>| {
        let spec = spec(target.map(|target| scaling(2, 9, target)));
        plan(seconds(0), &spec, &deployment(2), &brokers(streams), &mut Memory::default()).imbalance
    };
    assert_eq!(imbalance(&[3, 0], None), Some(1.0), "chance");
    assert_eq!(imbalance(&[3000, 1000], None), Some(1.5));
    assert_eq!(imbalance(&[3000, 1000], Some(5000)), Some(1.0), "both may have more");
    assert_eq!(imbalance(&[3000], None), None);
    assert_eq!(imbalance(&[0, 0], None), None);
}

#[test]
fn orders_that_no_broker_follows_are_given_up() {
    let (spec, mut memory, all) = (spec(None), Memory::default(), imbalanced());
    let plans: Vec<_> = (0..40).map(|n| look(n, &spec, &all, &mut memory)).collect();
    let ordered: Vec<_> = (0..40).filter(|n| plans[*n].orders.is_some()).collect();
    assert_eq!(ordered, (3..15).collect::<Vec<_>>(), "180 s");
    let AutopilotEvent::RebalanceGivenUp { why, moved, .. } = &plans[15].events[0] else {
        panic!()
    };
    assert_eq!((*why, *moved), (GivenUp::OrdersNotFollowed, 0));
    assert_eq!(plans[39].balanced.as_ref().unwrap().reason, Balanced::OrdersNotFollowed);
    let newer = Spec { generation: 2, ..spec };
    let again = (40..60).find(|n| look(*n, &newer, &all, &mut memory).orders.is_some());
    assert_eq!(again, Some(40), "a new generation ends the pause");
}

#[test]
fn an_episode_ends_when_no_broker_is_above_the_ceiling() {
    let (spec, mut memory) = (spec(None), Memory::default());
    for n in 0..3 {
        assert_eq!(look(n, &spec, &imbalanced(), &mut memory).orders, None);
    }
    let begun = look(3, &spec, &imbalanced(), &mut memory);
    assert_eq!(begun.events, [AutopilotEvent::Rebalancing { brokers: 2, streams: 1208 }]); // 2 * 302, half of them twice
    let orders = begun.orders.unwrap();
    // The ceiling is 1.1 times the mean of 600, or four sigmas above it.
    assert_eq!((orders.ceiling, orders.brokers.len()), (698, 2));
    let mut balanced = brokers(&[690, 698, 520, 492]);
    for broker in &mut balanced[..2] {
        broker.count.as_mut().unwrap().shed = 600;
    }
    let ended = look(4, &spec, &balanced, &mut memory);
    assert_eq!((ended.orders, ended.rebalancing), (None, false));
    assert_eq!(ended.events, [AutopilotEvent::Rebalanced { moved: 1200 }]);
    assert_eq!(ended.balanced.unwrap().reason, Balanced::Balanced);
}
