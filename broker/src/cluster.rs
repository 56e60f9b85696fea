//! What the brokers of a channel share beside its log: keys of tickets, revocations and renewals of grants.
//!
//! These records are the last message of each subject of one small stream, which NATS also republishes, so that a broker needs no
//! consumer. It subscribes to the republished messages, and reads all records when it connects and once a minute. While NATS is
//! unreachable, the broker keeps the records that it has.
//!
//! The brokers also exchange messages directly: they list and disconnect subscribers, and publish the counts of quotas.
//!
//! [`records`] are the stored messages, [`state`] is what a broker knows of a channel, [`store`] reads and writes the stream, [`follow`]
//! keeps the state up to date. [`messages`] are the direct messages, [`quotas`] the counts in them. [`probes`] are the events of delivery
//! probes.

mod follow;
mod messages;
mod probes;
mod quotas;
mod records;
mod state;
mod store;

use std::sync::Arc;

pub(crate) use messages::{Messages, PeerRequest, PeerRequestHandler};
pub(crate) use probes::{ProbeDelivery, Probes};
pub(crate) use quotas::{Exceeded, Quotas, StreamPermit};
#[cfg(test)]
pub(crate) use records::TicketKey;
pub(crate) use records::{Record, Renewal, Revocation, Revoked};
pub(crate) use state::{Needed, SharedState, StateUnavailable};
pub(crate) use store::{NotStored, Store};

/// The shared state and the messages of one channel.
pub(crate) struct Cluster {
    pub(crate) state: Arc<SharedState>,
    pub(crate) store: Store,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) messages: Arc<Messages>,
    pub(crate) probes: Probes,
}

impl Cluster {
    pub(crate) fn new(store: Store) -> Self {
        let quotas = Arc::default();
        let messages = Arc::new(Messages::new(&store, &quotas));
        let probes = Probes::new(&store);
        Self { state: Arc::new(SharedState::new()), store, quotas, messages, probes }
    }
}
