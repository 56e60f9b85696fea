//! Channels that other operators reconcile.

use std::collections::{HashMap, HashSet};

use kube::{ResourceExt, core::DynamicObject, runtime::controller::Action};
use parking_lot::Mutex;

use super::{Context, key};
use crate::{claim::OtherOperator, status::reasons};

/// Remembers of which channels it has warned.
#[derive(Debug, Default)]
pub struct OtherOperators {
    /// Name of the other operator, by `metadata.uid` of the channel.
    warned: Mutex<HashMap<String, String>>,
}

impl OtherOperators {
    /// Leaves a channel to another operator until its claim expires. Warns once, and counts each time.
    pub(super) fn leave(
        &self,
        raw: &DynamicObject,
        other: &OtherOperator,
        ctx: &Context,
    ) -> Action {
        ctx.metrics.failed(reasons::OTHER_OPERATOR);
        let OtherOperator { name, expires_in } = other;
        let uid = raw.uid().unwrap_or_default();
        if self.warned.lock().insert(uid, name.clone()).as_ref() != Some(name) {
            tracing::warn!(
                channel = %key(raw),
                operator = name,
                "another operator reconciles this channel, so it is left alone: give the operators different namespaces or channel selectors, \
                 or name the right one in the annotation eventcast.dev/operator"
            );
        }
        Action::requeue(expires_in.unwrap_or(ctx.resync).min(ctx.resync))
    }

    /// Drops the state of a channel that this operator reconciles.
    pub(super) fn forget(&self, uid: &str) {
        self.warned.lock().remove(uid);
    }

    /// Drops the state of every channel that is not in `uids`.
    pub fn retain(&self, uids: &HashSet<String>) {
        self.warned.lock().retain(|uid, _| uids.contains(uid));
    }
}
