//! Minutes, hours and days of a simulated channel. The bounds lie around what a simulation of single streams has found.

use super::{cluster::Cluster, *};

fn minutes(cluster: &mut Cluster, minutes: u64) {
    let (end, load) = (cluster.now + minutes * 60, cluster.load());
    cluster.run(end, |_| load);
}

/// The second in which the ratio first falls to `ratio`.
fn time_to(cluster: &mut Cluster, ratio: f64, end: u64) -> u64 {
    let load = cluster.load();
    let start = cluster.now;
    while cluster.now < start + end && cluster.ratio() > ratio {
        cluster.run(cluster.now + 1, |_| load);
    }
    cluster.now - start
}

#[test]
fn twice_the_brokers_get_their_share_with_less_than_one_move_per_stream() {
    for (order_delay, slowest) in [(0, 260), (45, 330)] {
        for seed in 0..2 {
            let mut cluster = Cluster::new(seed, spec(None), 10, 10_000);
            cluster.order_delay = order_delay;
            minutes(&mut cluster, 2);
            assert_eq!(cluster.moved, 0, "balanced");
            cluster.scale(20, &[]);
            let time = time_to(&mut cluster, 1.12, 1200);
            assert!((120..slowest).contains(&time), "{time} s with orders after {order_delay} s");
            minutes(&mut cluster, 20);
            let moves = cluster.moved as f64 / cluster.load() as f64;
            assert!((0.7..1.05).contains(&moves), "{moves} moves per stream");
            assert!(cluster.ratio() < 1.12, "{}", cluster.ratio());
            let ends = cluster
                .events
                .iter()
                .filter(|(_, n)| matches!(n, AutopilotEvent::Rebalanced { .. }));
            assert_eq!((ends.count(), cluster.events.len()), (1, 2), "one episode");
        }
    }
}

#[test]
fn a_tenth_more_brokers_move_nothing() {
    let mut cluster = Cluster::new(1, spec(None), 10, 1000);
    cluster.scale(11, &[]);
    minutes(&mut cluster, 30);
    assert_eq!(cluster.moved, 0);
}

/// Three fifths of the clients reach a third of the brokers only.
#[test]
fn pinned_clients_are_left_alone_after_one_attempt() {
    let mut cluster = Cluster::new(1, spec(None), 9, 0);
    (cluster.pinned_percent, cluster.step) = (60, 5);
    cluster.run(6 * 3600, |_| 27_000);
    let moves = cluster.moved as f64 / cluster.load() as f64;
    assert!((0.05..1.0).contains(&moves), "{moves} moves per stream in 6 h");
    let is_end = |event: &AutopilotEvent| {
        matches!(event, AutopilotEvent::RebalanceGivenUp { why: GivenUp::Futile, .. })
    };
    assert!(cluster.events.iter().any(|(_, events)| is_end(events)));
    assert!(
        !cluster.events.iter().any(|(_, event)| matches!(event, AutopilotEvent::Rebalanced { .. }))
    );
}

/// Peak 100,000 at 20 h, trough 30 %, and half more within a minute at the peak.
fn day(second: u64) -> u64 {
    let hour = second as f64 / 3600.0;
    let base = 65_000.0 + 35_000.0 * ((hour - 20.0) / 24.0 * std::f64::consts::TAU).cos();
    let spike = match second {
        0..72_000 => 0.0,
        72_000..72_060 => (second - 72_000) as f64 / 60.0,
        _ => (1.0 - (second - 72_060) as f64 / 7200.0).max(0.0),
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive
    let load = (base * (1.0 + 0.5 * spike)) as u64;
    load
}

#[test]
fn a_day_needs_two_turns_and_few_moves() {
    let mut cluster = Cluster::new(1, spec(Some(scaling(1, 40, 10_000))), 11, 7500);
    cluster.step = 5;
    let (mut broker_hours, mut stream_hours, mut crowded) = (0.0, 0.0, 0);
    for minute in 1..=24 * 60 {
        cluster.run(minute * 60, day);
        broker_hours += cluster.brokers.len() as f64 / 60.0;
        stream_hours += cluster.load() as f64 / 60.0;
        let fullest = cluster.brokers.iter().map(|broker| broker.streams).max().unwrap();
        crowded += u64::from(fullest > 13_000);
    }
    let ups = cluster.events.iter().filter_map(|(_, event)| match event {
        AutopilotEvent::ScaledUp { .. } => Some(true),
        AutopilotEvent::ScaledDown { .. } => Some(false),
        _ => None,
    });
    let ups: Vec<bool> = ups.collect();
    let turns = ups.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let moves = cluster.moved as f64 / stream_hours;
    assert!(turns <= 2, "{turns} turns");
    assert!((150.0..230.0).contains(&broker_hours), "{broker_hours} broker hours");
    assert!(moves < 0.2, "{moves} moves per stream and hour");
    assert!(crowded <= 6, "{crowded} minutes with a broker above 1.3 of the target");
}
