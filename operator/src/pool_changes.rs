//! Tells the reconciliation of pools that something has changed.

use kube::core::DynamicObject;
use tokio::sync::watch;

use crate::owner::{OwnerKey, OwnerKind};

/// Tells that something changed about a pool or its channels.
#[derive(Clone, Debug)]
pub struct PoolChanges(watch::Sender<()>);

impl Default for PoolChanges {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl PoolChanges {
    /// Something changed about `owner`; about pools if it is one.
    pub(crate) fn touched(&self, owner: &OwnerKey) {
        if owner.kind == OwnerKind::Pool {
            self.0.send_replace(());
        }
    }

    /// Something changed about pools.
    pub(crate) fn all_touched(&self) {
        self.0.send_replace(());
    }

    /// A channel changed. One that a pool serves, or served, concerns the pool.
    pub(crate) fn channel_touched(&self, channel: &DynamicObject) {
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
