//! The open streams of a channel on this broker, for its managers and for the other brokers of the channel.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    cluster::{PeerRequestHandler, Record, Revocation, Revoked, SharedState},
    identity::RandomId,
    log::Log,
    sessions::{ListRequest, Listing, Sessions},
};

/// The outcome of disconnecting streams on one broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DisconnectOutcome {
    pub(crate) closed: usize,
    /// The ticket of the named session, to be revoked so that its client cannot reconnect with it.
    pub(crate) ticket: Option<RandomId>,
}

/// Lists and closes the open streams of one channel on this broker.
#[derive(Clone)]
pub(crate) struct Subscribers {
    pub(super) channel: Arc<str>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) log: Arc<Log>,
    pub(super) state: Arc<SharedState>,
}

impl Subscribers {
    pub(crate) fn list(&self, request: &ListRequest) -> Listing {
        let head = self.log.tail().head().map_or(0, |head| head.sequence);
        self.sessions.list(&self.channel, request, head)
    }

    /// Closes the streams that `revocation` ends, and refuses the credentials that they were opened with from now on.
    pub(crate) fn disconnect(&self, revocation: &Revocation) -> DisconnectOutcome {
        self.state.apply(&Record::Revocation(revocation.clone()));
        let ticket = match &revocation.what {
            Revoked::Id(id) => self.sessions.ticket_of(&self.channel, *id),
            Revoked::Subject(_) => None,
        };
        DisconnectOutcome { closed: self.sessions.revoke(&self.channel, revocation), ticket }
    }
}

impl PeerRequestHandler for Subscribers {
    fn list(&self, request: &[u8]) -> Option<Vec<u8>> {
        let request = serde_json::from_slice(request).ok()?;
        serde_json::to_vec(&Self::list(self, &request)).ok()
    }

    fn disconnect(&self, request: &[u8]) -> Option<Vec<u8>> {
        let revocation = serde_json::from_slice(request).ok()?;
        serde_json::to_vec(&Self::disconnect(self, &revocation)).ok()
    }
}
