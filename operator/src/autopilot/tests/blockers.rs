//! When something is wrong or unknown: nothing is moved, and no broker is taken away.

use proptest::prelude::*;

use super::*;

/// The looks of a window of 600 s, and some.
const WINDOW: u64 = 41;

/// Six brokers that could be fewer, two of them with too many streams.
fn all() -> Vec<Broker> {
    brokers(&[1000, 1000, 100, 100, 100, 100])
}

fn idle() -> Spec {
    spec(Some(scaling(2, 10, 900)))
}

/// With nothing in the way both happen; the tests below rely on it.
#[test]
fn without_a_blocker_streams_are_moved_and_brokers_removed() {
    let mut memory = Memory::default();
    let plans: Vec<_> = (0..WINDOW)
        .map(|n| plan(seconds(n * LOOK), &idle(), &deployment(6), &all(), &mut memory))
        .collect();
    let first = plans.iter().position(|plan| plan.orders.is_some());
    assert_eq!(first, Some(3));
    let given_up = plans.iter().position(|plan| {
        plan.events.iter().any(|event| matches!(event, AutopilotEvent::RebalanceGivenUp { .. }))
    });
    assert_eq!(given_up, Some(15), "no broker is removed before");
    assert_eq!(plans[40].replicas, Some(5));
    assert!(plans[..40].iter().all(|plan| plan.replicas.is_none()));
}

/// Two windows of looks, with a blocker in each of them.
fn quiet(spec: &Spec, deployment: &DeploymentState, all: &[Broker]) -> Plan {
    let mut memory = Memory::default();
    let mut last = Plan::default();
    for n in 0..2 * WINDOW {
        last = plan(seconds(n * LOOK), spec, deployment, all, &mut memory);
        assert_eq!((last.replicas, &last.orders), (None, &None), "look {n}");
        assert_eq!((last.rebalancing, &last.victims), (false, &Vec::new()));
    }
    last
}

#[test]
fn nothing_changes_while_frozen() {
    for frozen in [Frozen::NatsUnreachable, Frozen::BrokersNotLive, Frozen::Paused] {
        let deployment = DeploymentState { frozen: Some(frozen), ..deployment(6) };
        assert_eq!(
            quiet(&idle(), &deployment, &all()).autoscaled.unwrap().reason,
            Autoscaled::Frozen
        );
        quiet(&spec(Some(scaling(2, 10, 10))), &deployment, &all());
        quiet(&spec(Some(scaling(7, 10, 900))), &deployment, &all());
    }
}

#[test]
fn nothing_changes_while_most_brokers_do_not_follow_the_log() {
    let mut all = all();
    for broker in &mut all[..4] {
        broker.count.as_mut().unwrap().live = false;
    }
    let plan = quiet(&idle(), &deployment(6), &all);
    assert_eq!(plan.autoscaled.unwrap().reason, Autoscaled::Frozen);
}

#[test]
fn a_rollout_only_adds_brokers() {
    let rollout = DeploymentState { rollout: true, ..deployment(6) };
    quiet(&idle(), &rollout, &all());
    let up = spec(Some(scaling(2, 10, 300)));
    assert_eq!(plan(seconds(0), &up, &rollout, &all(), &mut Memory::default()).replicas, Some(8));
    // Pods of two versions: which of them Kubernetes removes is not known.
    let fewer = spec(Some(scaling(2, 4, 900)));
    let step = plan(seconds(0), &fewer, &rollout, &all(), &mut Memory::default());
    assert_eq!((step.replicas, step.victims), (Some(4), vec![]));
}

#[test]
fn a_broker_that_is_not_ready_or_silent_keeps_all() {
    for fault in 0..3 {
        let mut all = all();
        match fault {
            0 => all[5].ready_for = None,
            1 => all[5].count = None,
            _ => all.push(Broker { terminating: true, ..broker(6, 10) }),
        }
        let mut memory = Memory::default();
        let mut last = None;
        for n in 0..2 * WINDOW {
            let plan = plan(seconds(n * LOOK), &idle(), &deployment(6), &all, &mut memory);
            assert_eq!(
                (plan.replicas.filter(|_| fault < 2), plan.orders),
                (None, None),
                "look {n}"
            );
            last = plan.autoscaled;
        }
        let reason = last.unwrap().reason;
        let expected = if fault == 1 { Autoscaled::CountsMissing } else { Autoscaled::Steady };
        assert!(reason == expected || fault == 2, "{reason:?}");
    }
}

#[test]
fn in_observe_mode_each_step_is_reported_once() {
    let observe = DeploymentState { observe_only: true, ..deployment(6) };
    let mut memory = Memory::default();
    let mut events = Vec::new();
    for n in 0..4 * WINDOW {
        let plan = plan(seconds(n * LOOK), &idle(), &observe, &all(), &mut memory);
        assert_eq!((plan.replicas, plan.orders, plan.rebalancing), (None, None, false));
        assert_eq!(plan.victims, [""; 0]);
        events.extend(plan.events);
    }
    let moves = AutopilotEvent::WouldRebalance { brokers: 2, streams: 300 };
    assert_eq!(events, [moves, AutopilotEvent::WouldScale { from: 6, to: 5 }]);
}

#[test]
fn a_foreign_autoscaler_scales_and_streams_are_balanced() {
    let foreign = DeploymentState { foreign_autoscaler: Some("keda".into()), ..deployment(6) };
    let mut memory = Memory::default();
    let (mut ordered, mut events) = (false, Vec::new());
    for n in 0..WINDOW {
        let plan = plan(seconds(n * LOOK), &idle(), &foreign, &all(), &mut memory);
        assert_eq!(plan.replicas, None);
        assert_eq!(plan.autoscaled.unwrap().reason, Autoscaled::ForeignAutoscaler);
        ordered |= plan.orders.is_some();
        events.extend(plan.events);
    }
    assert!(ordered);
    assert_eq!(
        events.iter().filter(|n| matches!(n, AutopilotEvent::ForeignAutoscaler { .. })).count(),
        1
    );
}

#[test]
fn without_the_right_to_patch_pods_only_the_number_changes() {
    let deployment = DeploymentState { may_patch_pods: false, ..deployment(6) };
    let mut memory = Memory::default();
    for n in 0..WINDOW {
        let plan = plan(seconds(n * LOOK), &idle(), &deployment, &all(), &mut memory);
        assert_eq!((plan.orders, plan.victims), (None, vec![]));
        assert_eq!(plan.balanced.unwrap().reason, Balanced::RightsMissing);
        assert_eq!(plan.replicas, (n == 40).then_some(5));
    }
}

/// The first look with a step down of four brokers that are idle, if what was wrong ends with look `until`.
fn first_step_down(
    spec: &Spec,
    until: u64,
    wrong: impl Fn(&mut Spec, &mut DeploymentState, &mut [Broker]),
) -> u64 {
    let mut memory = Memory::default();
    let mut look = |n: &u64| {
        let (mut spec, mut deployment, mut all) = (spec.clone(), deployment(4), even(40, 4));
        for broker in &mut all {
            broker.count.as_mut().unwrap().cpu_millis_total = Some(n * 10);
        }
        if *n < until {
            wrong(&mut spec, &mut deployment, &mut all);
        }
        plan(seconds(n * LOOK), &spec, &deployment, &all, &mut memory).replicas == Some(3)
    };
    (0..1000).find(|n| look(n)).unwrap()
}

#[test]
fn a_step_down_needs_a_whole_window_that_was_seen() {
    let (by_streams, mut by_cpu) = (scaling(1, 10, 100), scaling(1, 10, 100));
    (by_cpu.subscribers_per_broker, by_cpu.cpu_percent) = (None, Some(50));
    let (by_streams, by_cpu) = (spec(Some(by_streams)), spec(Some(by_cpu)));
    assert_eq!(first_step_down(&by_streams, 0, |_, _, _| {}), 40);
    assert_eq!(first_step_down(&by_cpu, 0, |_, _, _| {}), 41, "two looks give the first rate");
    let silent = |_: &mut Spec, _: &mut DeploymentState, all: &mut [Broker]| {
        all.iter_mut().for_each(|broker| broker.count = None);
    };
    assert_eq!(first_step_down(&by_streams, 50, silent), 90, "nothing was known");
    let no_cpu = |_: &mut Spec, _: &mut DeploymentState, all: &mut [Broker]| {
        all.iter_mut().for_each(|broker| broker.count.as_mut().unwrap().cpu_millis_total = None);
    };
    assert_eq!(first_step_down(&by_cpu, 50, no_cpu), 91);
    let foreign = |_: &mut Spec, deployment: &mut DeploymentState, _: &mut [Broker]| {
        deployment.foreign_autoscaler = Some("keda".into());
    };
    assert_eq!(first_step_down(&by_streams, 50, foreign), 90, "somebody else chose the number");
    let others = |spec: &mut Spec, _: &mut DeploymentState, _: &mut [Broker]| {
        spec.scaling.as_mut().unwrap().subscribers_per_broker = Some(10);
    };
    assert_eq!(first_step_down(&by_streams, 50, others), 90, "other settings prove nothing");
    let paused = |_: &mut Spec, deployment: &mut DeploymentState, _: &mut [Broker]| {
        deployment.frozen = Some(Frozen::Paused);
    };
    assert_eq!(first_step_down(&by_streams, 50, paused), 90);
}

#[test]
fn pods_without_a_node_are_not_waited_for() {
    let deployment = DeploymentState { unschedulable: true, ..deployment(6) };
    let mut all = all();
    (all[5].ready_for, all[5].count) = (None, None);
    let up = spec(Some(scaling(2, 10, 300)));
    let mut memory = Memory::default();
    let plans: Vec<_> =
        (0..5).map(|n| plan(seconds(n * LOOK), &up, &deployment, &all, &mut memory)).collect();
    assert!(plans.iter().all(|plan| plan.replicas.is_none()), "there is no room for more");
    assert_eq!(plans[4].autoscaled.as_ref().unwrap().reason, Autoscaled::AtMaximum);
    assert!(plans[4].orders.is_some(), "the others are balanced");
    let mut memory = Memory::default();
    let steps =
        (0..WINDOW).map(|n| plan(seconds(n * LOOK), &idle(), &deployment, &all, &mut memory));
    let down = steps.last().unwrap();
    assert_eq!((down.replicas, down.victims), (Some(5), vec!["broker-005".to_owned()]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Another leader knows nothing of the past.
    #[test]
    fn a_restart_at_any_look_takes_nothing_away_for_a_window(
        at in 0u64..60, streams in prop::collection::vec(0u64..3000, 2..12),
    ) {
        let replicas = i32::try_from(streams.len()).unwrap();
        let (spec, all) = (spec(Some(scaling(1, 40, 1000))), brokers(&streams));
        let (mut memory, mut wanted) = (Memory::default(), deployment(replicas));
        for n in 0..at + 40 {
            if n == at {
                memory = Memory::default();
            }
            let plan = plan(seconds(n * LOOK), &spec, &wanted, &all, &mut memory);
            if n >= at {
                prop_assert!(plan.replicas.is_none_or(|to| to > wanted.replicas));
                prop_assert!(n >= at + 3 || plan.orders.is_none());
            }
            wanted.replicas = plan.replicas.filter(|to| *to > wanted.replicas).unwrap_or(wanted.replicas);
        }
    }

    /// A broker that does not answer is estimated high: never a smaller number than with all answers, nor fewer brokers in such a look.
    #[test]
    fn a_missing_count_hides_no_load(
        streams in prop::collection::vec(0u64..3000, 2..12),
        silent in prop::collection::vec(prop::collection::vec(any::<bool>(), 12), 1..40),
    ) {
        let replicas = i32::try_from(streams.len()).unwrap();
        let spec = spec(Some(scaling(1, 40, 1000)));
        let all = brokers(&streams);
        let mut memory = Memory::default();
        let first = plan(seconds(0), &spec, &deployment(replicas), &all, &mut memory);
        for (n, silent) in (1..).zip(&silent) {
            // 60 s between two looks: no count of an earlier look is recent.
            let mut seen = all.clone();
            for (broker, silent) in seen.iter_mut().zip(silent) {
                broker.count = broker.count.take().filter(|_| !silent);
            }
            let plan = plan(seconds(n * 60), &spec, &deployment(replicas), &seen, &mut memory);
            if silent[..streams.len()].contains(&true) {
                prop_assert_eq!(&plan.orders, &None);
                prop_assert!(plan.replicas.is_none_or(|to| to > replicas), "none is removed");
            }
            if let Some(up) = first.replicas {
                prop_assert!(plan.replicas.is_some_and(|to| to >= up), "the load is seen");
            }
        }
    }

    /// Number and balance never change together, whatever happens.
    #[test]
    fn a_step_and_orders_exclude_each_other(
        looks in prop::collection::vec(
            (prop::collection::vec(0u64..3000, 8), 0u8..40, 0usize..8), 1..300,
        ),
    ) {
        let mut deployment = deployment(4);
        let spec = spec(Some(scaling(2, 8, 1000)));
        let mut memory = Memory::default();
        let mut rebalancing = false;
        let mut streams = [1000, 1000, 100, 100, 100, 100, 100, 100];
        for (n, (jump, event, index)) in (0..).zip(looks) {
            if event < 3 {
                streams[index] = jump[index];
            }
            let mut all = brokers(&streams[..usize::try_from(deployment.replicas).unwrap()]);
            let broker = index % all.len();
            match event {
                3 => all[broker].count = None,
                4 => all[broker].ready_for = None,
                5 => all[broker].ready_for = Some(seconds(10)),
                6 => all[broker].terminating = true,
                _ => {}
            }
            (deployment.rollout, deployment.frozen) = (event == 7, (event == 8).then_some(Frozen::Paused));
            let plan = plan(seconds(n * LOOK), &spec, &deployment, &all, &mut memory);
            prop_assert!(plan.replicas.is_none() || plan.orders.is_none());
            prop_assert!(!plan.rebalancing || plan.replicas.is_none());
            let down = plan.replicas.is_some_and(|to| to < deployment.replicas);
            prop_assert!(!(down && rebalancing), "no broker is removed while streams are moved");
            if (4..9).contains(&event) {
                prop_assert_eq!(&plan.orders, &None);
                prop_assert!(!down || event == 5, "a broker that has just become ready counts");
            }
            rebalancing = plan.rebalancing;
            deployment.replicas = plan.replicas.unwrap_or(deployment.replicas);
        }
    }
}
