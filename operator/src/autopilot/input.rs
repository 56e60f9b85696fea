//! The input of the autopilot for one channel: its settings, the state of its Deployment, and its brokers.

use std::time::Duration;

/// The settings of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// How the number of brokers is chosen; `None` if the autopilot does not choose it.
    pub scaling: Option<Scaling>,
    /// Whether brokers with far more streams than others close some.
    pub balancing: bool,
    /// Streams that a broker accepts at most. A broker that reports more is not believed.
    pub max_streams: u64,
    /// `metadata.generation`: a new one ends the pause after a failed rebalancing.
    pub generation: i64,
}

/// How the number of brokers is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// Minimum number of brokers.
    pub min: i32,
    /// Maximum number of brokers.
    pub max: i32,
    /// Target mean number of streams of a broker.
    pub subscribers_per_broker: Option<u32>,
    /// Target mean processor time of a broker, in percent of its request.
    pub cpu_percent: Option<u32>,
    /// For how long fewer brokers must have been enough before one is removed.
    pub stabilization: Duration,
}

/// The state of the Deployment, and what keeps the autopilot from acting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentState {
    /// The number of brokers that is wanted now.
    pub replicas: i32,
    /// Whether a rollout is under way.
    pub rollout: bool,
    /// Why nothing is changed, if nothing is. The autopilot itself detects [`Frozen::BrokersNotLive`].
    pub frozen: Option<Frozen>,
    /// The name of a HorizontalPodAutoscaler of somebody else that scales the same Deployment.
    pub foreign_autoscaler: Option<String>,
    /// Whether the operator may patch pods. Orders and marks of pods need it.
    pub may_patch_pods: bool,
    /// Whether steps are only reported.
    pub observe_only: bool,
    /// Whether pods cannot be scheduled or created.
    pub unschedulable: bool,
}

/// Why nothing is changed: clients that have to reconnect could not resume, or a person wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// NATS does not answer the operator.
    NatsUnreachable,
    /// Over half of the brokers do not follow the log.
    BrokersNotLive,
    /// The annotation `eventcast.dev/paused` is set.
    Paused,
}

/// A broker, as seen in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The name of its pod.
    pub name: String,
    /// For how long it has been ready; `None` if it is not.
    pub ready_for: Option<Duration>,
    /// Whether its pod is being deleted.
    pub terminating: bool,
    /// What it reported; `None` if it did not answer in this look.
    pub count: Option<Count>,
}

/// What a broker reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Open streams.
    pub streams: u64,
    /// Streams that were closed for balance since the broker started.
    pub shed: u64,
    /// Processor time since the broker started, in milliseconds; `None` if the broker does not report it.
    pub cpu_millis_total: Option<u64>,
    /// Requested processor time, in thousandths of a core.
    pub cpu_request_millis: u64,
    /// Whether the broker follows the log.
    pub live: bool,
}
