//! What the autopilot decides in one look, and what it says about it. Texts do not contain live numbers: they are written into the status,
//! and each change of a status wakes every client that watches channels.

use std::time::Duration;

use eventcast_crds::conditions::reasons;

/// What to do after one look, in this order: mark `victims`, write `replicas`, write the orders.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The new number of brokers; `None` if it stays.
    pub replicas: Option<i32>,
    /// Pods that Kubernetes shall remove first. No other pod keeps a mark. They are listed until they are gone.
    pub victims: Vec<String>,
    /// The orders of this look. `None`: no order is written, and those of earlier looks expire.
    pub orders: Option<Orders>,
    /// Whether streams are being moved. If not, the annotations of orders can be removed.
    pub rebalancing: bool,
    /// The condition `Autoscaled`; `None` if the autopilot does not choose the number of brokers.
    pub autoscaled: Option<State<Autoscaled>>,
    /// The condition `Balanced`; `None` if balancing is off.
    pub balanced: Option<State<Balanced>>,
    /// What has happened. Each item is reported once.
    pub events: Vec<AutopilotEvent>,
    /// Streams of the fullest ready broker, divided by the mean; 1 if it has not far more than others, as chance alone gives. `None` if it is not
    /// known or there is only one.
    pub imbalance: Option<f64>,
}

/// An order to some brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Streams that each of them keeps.
    pub ceiling: u64,
    /// For how long the order is in force.
    pub duration: Duration,
    /// The pods of the brokers.
    pub brokers: Vec<String>,
}

/// A condition: its reason, and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State<R> {
    /// The reason.
    pub reason: R,
    /// What it means and what to do.
    pub message: String,
}

/// Reasons of the condition `Autoscaled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoscaled {
    /// The number of brokers fits the load.
    Steady,
    /// Brokers were added lately.
    ScaledUp,
    /// Brokers were removed lately.
    ScaledDown,
    /// The load needs more brokers than there may or can be.
    AtMaximum,
    /// Another autoscaler scales the same Deployment.
    ForeignAutoscaler,
    /// Some brokers have not reported their load for a while.
    CountsMissing,
    /// The number of brokers stays as it is.
    Frozen,
}

impl Autoscaled {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::Steady,
        Self::ScaledUp,
        Self::ScaledDown,
        Self::AtMaximum,
        Self::ForeignAutoscaler,
        Self::CountsMissing,
        Self::Frozen,
    ];

    /// The reason as conditions and metrics show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steady => reasons::STEADY,
            Self::ScaledUp => reasons::SCALED_UP,
            Self::ScaledDown => reasons::SCALED_DOWN,
            Self::AtMaximum => reasons::AT_MAXIMUM,
            Self::ForeignAutoscaler => reasons::FOREIGN_AUTOSCALER,
            Self::CountsMissing => reasons::COUNTS_MISSING,
            Self::Frozen => reasons::FROZEN,
        }
    }

    /// The status of the condition; `None` is `Unknown`.
    #[must_use]
    pub const fn status(self) -> Option<bool> {
        match self {
            Self::Steady | Self::ScaledUp | Self::ScaledDown => Some(true),
            Self::AtMaximum | Self::ForeignAutoscaler | Self::Frozen => Some(false),
            Self::CountsMissing => None,
        }
    }
}

/// Reasons of the condition `Balanced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balanced {
    /// No broker has to close streams.
    Balanced,
    /// Brokers with far more streams than others close some.
    Shedding,
    /// Closed streams came back to the same brokers.
    Futile,
    /// Brokers did not close streams when they were told to.
    OrdersNotFollowed,
    /// The operator may not patch pods.
    RightsMissing,
}

impl Balanced {
    /// All reasons.
    pub const ALL: [Self; 5] = [
        Self::Balanced,
        Self::Shedding,
        Self::Futile,
        Self::OrdersNotFollowed,
        Self::RightsMissing,
    ];

    /// The reason as conditions and metrics show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balanced => reasons::BALANCED,
            Self::Shedding => reasons::SHEDDING,
            Self::Futile => reasons::FUTILE,
            Self::OrdersNotFollowed => reasons::ORDERS_NOT_FOLLOWED,
            Self::RightsMissing => reasons::RIGHTS_MISSING,
        }
    }

    /// The status of the condition.
    #[must_use]
    pub const fn status(self) -> bool {
        matches!(self, Self::Balanced)
    }
}

/// Why a rebalancing was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// Closed streams came back to the same brokers.
    Futile,
    /// Brokers did not close streams.
    OrdersNotFollowed,
}

/// Something that has happened, for an Event and a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutopilotEvent {
    /// The number of brokers is raised.
    ScaledUp {
        /// Before.
        from: i32,
        /// After.
        to: i32,
    },
    /// The number of brokers is lowered.
    ScaledDown {
        /// Before.
        from: i32,
        /// After.
        to: i32,
    },
    /// The number of brokers would change, if the autopilot did not only observe.
    WouldScale {
        /// Now.
        from: i32,
        /// What it would be.
        to: i32,
    },
    /// Brokers begin to close streams.
    Rebalancing {
        /// How many brokers have too many streams.
        brokers: usize,
        /// About how many streams will move.
        streams: u64,
    },
    /// Brokers would close streams, if the autopilot did not only observe.
    WouldRebalance {
        /// How many brokers have too many streams.
        brokers: usize,
        /// About how many streams would move.
        streams: u64,
    },
    /// Streams are balanced.
    Rebalanced {
        /// How many streams were closed.
        moved: u64,
    },
    /// The rebalancing ended early, because something else changes: the number of brokers, a rollout, NATS.
    RebalanceInterrupted {
        /// How many streams were closed.
        moved: u64,
    },
    /// The rebalancing did not help.
    RebalanceGivenUp {
        /// Why.
        why: GivenUp,
        /// How many streams were closed.
        moved: u64,
        /// When the next attempt may begin.
        retry_in: Duration,
    },
    /// A HorizontalPodAutoscaler of somebody else scales the same Deployment.
    ForeignAutoscaler {
        /// Its name.
        name: String,
    },
}
