//! Applies the records of other brokers to open streams: revocations close them, and renewals move the ends of their grants.

use eventcast_wire::closing::CloseReason;
use tokio::time::Duration;

use super::{Session, Sessions};
use crate::{
    access::patterns,
    clock::now_millis,
    cluster::{Record, Renewal, Revocation, Revoked},
};

impl Sessions {
    /// Applies `record` of the channel with the key `channel`.
    pub(crate) fn apply(&self, channel: &str, record: &Record) {
        match record {
            Record::Key(_) => {}
            Record::Revocation(revocation) => {
                self.revoke(channel, revocation);
            }
            Record::Renewal(renewal) => {
                for session in self.with_id(channel, renewal.id) {
                    session.renew(renewal);
                }
            }
        }
    }

    /// Closes the streams that `revocation` ends. Returns how many it closed.
    pub(crate) fn revoke(&self, channel: &str, revocation: &Revocation) -> usize {
        let selected = match &revocation.what {
            Revoked::Subject(subject) => self.select(channel, Some(subject)),
            Revoked::Id(id) => self.with_id(channel, *id),
        };
        let ended = selected.iter().filter(|session| session.is_ended_by(revocation));
        ended.filter(|session| session.close(CloseReason::Revoked)).count()
    }
}

impl Session {
    /// Whether `revocation`, which names this session, ends it. A revocation of a subject does not end sessions whose credentials were
    /// issued later, by the same rule as for credentials: it is read again periodically, and the clocks of brokers differ.
    fn is_ended_by(&self, revocation: &Revocation) -> bool {
        match (&revocation.what, self.info().issued_at) {
            (Revoked::Id(_), _) => true,
            (Revoked::Subject(_), Some(issued_at)) => issued_at <= revocation.before / 1000,
            (Revoked::Subject(_), None) => self.info().began_at <= revocation.before,
        }
    }

    /// Moves the end of the grant, if the new one still covers the stream; otherwise closes the stream, so that the client reconnects. An
    /// earlier renewal may be read after a later one, while the later one is being stored, or from a restored stream.
    fn renew(&self, renewal: &Renewal) {
        let left = renewal.until.saturating_mul(1000).saturating_sub(now_millis());
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        if self.info().identity.as_ref() != Some(&renewal.identity)
            || self.grant_end().is_after(left)
        {
            return;
        }
        let granted = patterns(&renewal.topics, renewal.broadcast);
        if !granted.contains(&self.info().filter.covered()) {
            self.close(CloseReason::GrantChanged);
            return;
        }
        self.grant_end().set(left);
    }
}
