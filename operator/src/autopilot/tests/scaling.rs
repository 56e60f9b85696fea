//! The number of brokers, with brokers that are ready at once and have equal shares.

use proptest::prelude::*;

use super::*;

const TARGET: u64 = 100;

/// One look: the load, the number of brokers before, and the plan.
struct Step {
    now: u64,
    load: u64,
    before: i32,
    plan: Plan,
}

impl Step {
    fn after(&self) -> i32 {
        self.plan.replicas.unwrap_or(self.before)
    }
}

/// Looks at these loads, one after the other. Each plan is carried out at once.
fn looks(loads: &[u64], scaling: &Scaling, replicas: i32) -> Vec<Step> {
    let (spec, mut deployment, mut memory) =
        (spec(Some(scaling.clone())), deployment(replicas), Memory::default());
    let look = |(index, load): (usize, &u64)| {
        let (now, before) = (index as u64 * LOOK, deployment.replicas);
        let plan = plan(seconds(now), &spec, &deployment, &even(*load, before), &mut memory);
        deployment.replicas = plan.replicas.unwrap_or(before);
        Step { now, load: *load, before, plan }
    };
    loads.iter().enumerate().map(look).collect()
}

/// How often the number went from up to down, or back.
fn turns(steps: &[Step]) -> usize {
    let directions: Vec<bool> =
        steps.iter().filter_map(|s| s.plan.replicas.map(|to| to > s.before)).collect();
    directions.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// Loads that jump now and then, and wobble in between.
fn loads() -> impl Strategy<Value = Vec<u64>> {
    let piece = (0u64..4000, 1usize..120, 0u64..60);
    prop::collection::vec(piece, 1..6).prop_perturb(|pieces, mut rng| {
        let wobble = |(load, looks, percent): (u64, usize, u64)| {
            (0..looks).map(move |_| (load, percent)).collect::<Vec<_>>()
        };
        let looks = pieces.into_iter().flat_map(wobble).take(300);
        looks.map(|(load, percent)| load + load * rng.random_range(0..=percent) / 100).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn up_at_once_and_down_only_after_a_window_with_a_fifth_to_spare(
        loads in loads(), min in 1..5, span in 0..60, replicas in 1..70, window in 30u64..900,
    ) {
        let max = min + span;
        let scaling = Scaling { stabilization: seconds(window), ..scaling(min, max, 100) };
        let steps = looks(&loads, &scaling, replicas);
        let (mut last_up, mut last_down): (Option<u64>, Option<u64>) = (None, None);
        for (index, step) in steps.iter().enumerate() {
            let (before, after) = (step.before, step.after());
            let wanted = i32::try_from(step.load.div_ceil(TARGET)).unwrap().clamp(min, max);
            prop_assert!((min..=max).contains(&after), "within the bounds");
            if !(min..=max).contains(&before) {
                continue;
            }
            if wanted > before {
                prop_assert_eq!(after, wanted.min(2 * before + 4), "up at once");
                last_up = Some(step.now);
            }
            if after >= before {
                prop_assert_eq!(&step.plan.victims, &Vec::<String>::new());
                continue;
            }
            prop_assert!(before - after <= (before / 10).max(1), "a tenth");
            prop_assert!(last_down.is_none_or(|last| step.now - last >= 120), "each 120 s");
            prop_assert!(last_up.is_none_or(|last| step.now - last >= window), "a window after an up");
            prop_assert!(step.now >= window, "a whole window was seen");
            for seen in steps[..=index].iter().filter(|seen| step.now - seen.now <= window) {
                let spare = u64::try_from(after).unwrap() * TARGET * 4 / 5;
                prop_assert!(seen.load <= spare, "{} of {spare}", seen.load);
            }
            prop_assert_eq!(step.plan.victims.len(), usize::try_from(before - after).unwrap());
            last_down = Some(step.now);
        }
    }

    /// The next step up after a step down needs a quarter more than the highest load of the window before it.
    #[test]
    fn a_load_that_stays_within_a_quarter_turns_at_most_once(
        lowest in 1u64..5000, replicas in 1..70, window in 30u64..900,
        wobble in prop::collection::vec(0f64..1.0, 300),
    ) {
        let scaling = Scaling { stabilization: seconds(window), ..scaling(1, 100, 100) };
        let highest = (lowest * 5).div_ceil(4); // excluded
        let span = (highest - lowest) as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the span
        let loads: Vec<u64> = wobble.iter().map(|part| lowest + (part * span) as u64).collect();
        let turns = turns(&looks(&loads, &scaling, replicas));
        prop_assert!(turns <= 1, "{turns} turns");
    }

    #[test]
    fn the_emptiest_brokers_are_removed(streams in prop::collection::vec(0u64..60, 2..60)) {
        let replicas = i32::try_from(streams.len()).unwrap();
        let (spec, mut memory) = (spec(Some(scaling(1, 100, 1000))), Memory::default());
        let all = brokers(&streams);
        let mut victims = Vec::new();
        for look in 0..=40 {
            let plan = plan(seconds(look * LOOK), &spec, &deployment(replicas), &all, &mut memory);
            prop_assert_eq!(plan.replicas.is_some(), look == 40, "after a whole window");
            victims = plan.victims;
        }
        prop_assert_eq!(victims.len(), (streams.len() / 10).max(1));
        let mut order: Vec<_> = all.iter().collect();
        order.sort_by_key(|broker| (broker.count.as_ref().unwrap().streams, &broker.name));
        let expected: Vec<_> = order.iter().take(victims.len()).map(|b| b.name.clone()).collect();
        prop_assert_eq!(victims, expected);
    }
}

#[test]
fn victims_are_marked_until_they_are_gone() {
    let (spec, mut memory) = (spec(Some(scaling(1, 10, 1000))), Memory::default());
    let mut all = brokers(&[7, 3, 9]);
    let mut look = |n: u64, replicas, all: &[Broker]| {
        plan(seconds(n * LOOK), &spec, &deployment(replicas), all, &mut memory)
    };
    for n in 0..40 {
        assert_eq!(look(n, 3, &all).replicas, None);
    }
    let step = look(40, 3, &all);
    assert_eq!((step.replicas, step.victims), (Some(2), vec!["broker-001".to_owned()]));
    assert_eq!(step.events, [AutopilotEvent::ScaledDown { from: 3, to: 2 }]);
    assert_eq!(look(41, 2, &all).victims, ["broker-001"], "Kubernetes has not removed it yet");
    all[1].terminating = true;
    assert_eq!(look(42, 2, &all).victims, [""; 0]);
    all.remove(1);
    assert_eq!(look(43, 2, &all).victims, [""; 0]);
}

#[test]
fn processor_time_counts_if_it_lasts() {
    let by_cpu =
        Scaling { subscribers_per_broker: None, cpu_percent: Some(50), ..scaling(1, 20, 1) };
    let (spec, mut memory) = (spec(Some(by_cpu)), Memory::default());
    let (mut used, mut replicas) = (0, 4);
    let mut look = |n: u64, percent: u64, memory: &mut Memory| {
        used += percent * LOOK * 10; // of a request of one core
        let mut all = even(0, 4);
        for broker in &mut all {
            broker.count.as_mut().unwrap().cpu_millis_total = Some(used);
        }
        let plan = plan(seconds(n * LOOK), &spec, &deployment(replicas), &all, memory);
        replicas = plan.replicas.unwrap_or(replicas);
        plan.replicas
    };
    let percents = [40, 40, 40, 95, 40, 95, 76];
    let steps: Vec<_> =
        (0..).zip(percents).map(|(n, percent)| look(n, percent, &mut memory)).collect();
    let mut expected = vec![None; 6];
    expected.push(Some(7)); // 4 brokers at 76 % of a core: 3.04 cores, half a core for each
    assert_eq!(steps, expected);
}

#[test]
fn the_condition_tells_what_happens_and_does_not_flap() {
    let (spec, mut memory) = (spec(Some(scaling(1, 4, 100))), Memory::default());
    let mut replicas = 1;
    let mut look = |n: u64, load: u64| {
        let plan = plan(
            seconds(n * LOOK),
            &spec,
            &deployment(replicas),
            &even(load, replicas),
            &mut memory,
        );
        replicas = plan.replicas.unwrap_or(replicas);
        plan.autoscaled.unwrap().reason
    };
    assert_eq!(look(0, 90), Autoscaled::Steady);
    assert_eq!(look(1, 290), Autoscaled::ScaledUp);
    assert_eq!(look(2, 290), Autoscaled::ScaledUp);
    assert_eq!(look(3, 401), Autoscaled::AtMaximum);
    for n in 4..40 {
        assert_eq!(look(n, 400 + n % 2), Autoscaled::AtMaximum, "the load is around the maximum");
    }
    let rest: Vec<_> = (40..200).map(|n| look(n, 150)).collect();
    let mut reasons = rest.clone();
    reasons.dedup();
    let expected =
        [Autoscaled::AtMaximum, Autoscaled::Steady, Autoscaled::ScaledDown, Autoscaled::Steady];
    assert_eq!(reasons, expected);
}

#[test]
fn changes_by_others_are_not_steps_but_delay_the_next_one() {
    let (spec, mut memory) = (spec(Some(scaling(1, 10, 1000))), Memory::default());
    let mut look = |n: u64, replicas| {
        plan(seconds(n * LOOK), &spec, &deployment(replicas), &even(100, replicas), &mut memory)
    };
    for n in 0..39 {
        assert_eq!(look(n, 3).replicas, None);
    }
    for n in 39..79 {
        let plan = look(n, 5);
        assert_eq!((plan.replicas, plan.events), (None, vec![]), "not within a window after it");
        assert_eq!(plan.autoscaled.unwrap().reason, Autoscaled::Steady);
    }
    assert_eq!(look(79, 5).replicas, Some(4));
}
