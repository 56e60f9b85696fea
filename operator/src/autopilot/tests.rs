//! Tests of whole plans: properties for random loads, placements and faults, and a simulation.

mod balancing;
mod blockers;
mod cluster;
mod days;
mod scaling;

use super::*;

/// Interval of the looks, as in the operator.
const LOOK: u64 = 15;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn scaling(min: i32, max: i32, subscribers_per_broker: u32) -> Scaling {
    Scaling {
        min,
        max,
        subscribers_per_broker: Some(subscribers_per_broker),
        cpu_percent: None,
        stabilization: seconds(600),
    }
}

fn spec(scaling: Option<Scaling>) -> Spec {
    Spec { scaling, balancing: true, max_streams: 1_000_000, generation: 1 }
}

fn deployment(replicas: i32) -> DeploymentState {
    DeploymentState { replicas, may_patch_pods: true, ..DeploymentState::default() }
}

fn count(streams: u64) -> Count {
    Count { streams, shed: 0, cpu_millis_total: None, cpu_request_millis: 1000, live: true }
}

/// A broker that has been ready for an hour.
fn broker(index: usize, streams: u64) -> Broker {
    Broker {
        name: format!("broker-{index:03}"),
        ready_for: Some(seconds(3600)),
        terminating: false,
        count: Some(count(streams)),
    }
}

fn brokers(streams: &[u64]) -> Vec<Broker> {
    streams.iter().enumerate().map(|(index, streams)| broker(index, *streams)).collect()
}

/// `total` streams, the same number on each of `replicas` brokers.
fn even(total: u64, replicas: i32) -> Vec<Broker> {
    let count = u64::try_from(replicas).unwrap();
    let share = |index| total / count + u64::from(index < total % count);
    brokers(&(0..count).map(share).collect::<Vec<_>>())
}
