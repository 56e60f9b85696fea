//! Wakes the reconciliation of pools when something about them has changed.

use kube::core::DynamicObject;
use tokio::sync::watch;

use crate::owner::{OwnerKey, OwnerKind};

/// Wakes the reconciliation of pools.
#[derive(Clone, Debug)]
pub struct PoolChanges(watch::Sender<()>);

impl Default for PoolChanges {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl PoolChanges {
    /// Something changed about `owner`; about pools if it is one.
    pub(crate) fn notify(&self, owner: &OwnerKey) {
        if owner.kind == OwnerKind::Pool {
            self.0.send_replace(());
        }
    }

    /// Something changed about pools.
    pub(crate) fn notify_all(&self) {
        self.0.send_replace(());
    }

    /// A channel changed. One that a pool serves, or served, concerns the pool.
    pub(crate) fn notify_channel(&self, channel: &DynamicObject) {
        let spec = channel.data.pointer("/spec/brokers/pool").is_some();
        let moves = ["/status/pool", "/status/moved"].iter();
        if spec || moves.into_iter().any(|path| channel.data.pointer(path).is_some()) {
            self.0.send_replace(());
        }
    }

    /// Changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}
