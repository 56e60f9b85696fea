//! Why a stream is not ready. Below both [`nats`](crate::nats) and [`stream`](crate::stream), which raise it.

use crate::status::ConditionState;

/// Why a stream is not ready: the state of the condition `StreamReady`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", condition.message)]
pub struct StreamError {
    /// Its status is false.
    pub condition: ConditionState,
}

impl StreamError {
    /// A failure that lasts until somebody changes something.
    pub fn permanent(reason: &'static str, message: impl Into<String>) -> Self {
        Self { condition: ConditionState::failed(reason, message) }
    }

    /// A failure that a retry may overcome.
    pub fn transient(reason: &'static str, message: impl Into<String>) -> Self {
        Self { condition: ConditionState::transient(reason, message) }
    }
}
