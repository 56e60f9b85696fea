//! Tickets: short-lived credentials for reading, which a client takes with a credential in a header and then sends in a URL or in a
//! cookie. They are stateless: renewals and revocations are looked up by their id.

use std::sync::Arc;

use eventcast_wire::{grants::Topics, topic::Pattern};
use serde::{Deserialize, Serialize};

use super::{
    credential::{Denied, Invalid},
    grant::{AuthMethod, Grant},
    seal::{Kind, Sealer},
};
use crate::{
    clock::now_millis,
    cluster::{self, Revoked, SharedState},
    identity::{Identity, RandomId},
};

/// How long a ticket in a URL can be used without a cursor, that is for the first connect: every stream sends a cursor at once. After that
/// a URL that was found in a log is useless.
const FIRST_USE_SECONDS: i64 = 60;
/// How long renewals may extend a ticket from its issue.
const MAX_TOTAL_SECONDS: i64 = 86_400;

/// The content of a ticket. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ticket {
    id: RandomId,
    #[serde(flatten)]
    identity: Identity,
    /// When the credential with which it was obtained was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    issued: i64,
    until: i64,
    topics: Vec<String>,
    broadcast: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// Whether a broker took it for a delivery probe.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    probe: bool,
}

/// The content of a renewal path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RenewalOf {
    id: RandomId,
    #[serde(flatten)]
    identity: Identity,
    /// When the ticket was issued; `None` for a session without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued: Option<i64>,
}

/// What a ticket is asked for.
#[derive(Clone, Debug)]
pub(crate) struct TicketRequest {
    /// The client that may use it.
    pub(crate) identity: Identity,
    pub(crate) topics: Topics,
    /// How long it lives at most.
    pub(crate) seconds: u64,
}

/// A ticket that was issued.
pub(crate) struct Issued {
    pub(crate) ticket: String,
    /// In seconds since 1970.
    pub(crate) expires: i64,
    /// The last segment of the path at which it is renewed.
    pub(crate) renewal: Option<String>,
}

/// Issues and checks the tickets of a channel.
#[derive(Clone)]
pub(crate) struct Tickets {
    sealer: Sealer,
    state: Arc<SharedState>,
    channel: Arc<str>,
}

/// Where a stream's grant is renewed.
pub(crate) struct Renewal {
    tickets: Arc<Tickets>,
    of: RenewalOf,
}

impl Renewal {
    /// The path; `None` if there is no key to seal it with.
    pub(crate) fn path(&self) -> Option<String> {
        let sealed = self.tickets.sealer.seal(Kind::Renewal, &self.of)?;
        Some(format!("/channels/{}/renewals/{sealed}", self.tickets.channel))
    }
}

impl Tickets {
    pub(super) fn new(state: Arc<SharedState>, channel: Arc<str>) -> Self {
        Self { sealer: Sealer::new(Arc::clone(&state), Arc::clone(&channel)), state, channel }
    }

    /// Issues a ticket to the client with `grant`, which outlives neither its credential nor what was asked for.
    ///
    /// # Errors
    /// There is no key yet.
    pub(crate) fn issue(&self, grant: &Grant, request: TicketRequest) -> Result<Issued, Denied> {
        let now = now_millis() / 1000;
        let until = now.saturating_add(i64::try_from(request.seconds).unwrap_or(i64::MAX));
        let until = grant.expires.map_or(until, |expires| expires.min(until));
        let (topics, broadcast) = request.topics.describe();
        let ticket = Ticket {
            id: RandomId::generate(),
            identity: request.identity,
            iat: grant.issued_at,
            issued: now,
            until,
            topics: topics.into_iter().map(str::to_owned).collect(),
            broadcast,
            class: grant.quota.as_deref().map(str::to_owned),
            probe: false,
        };
        let unavailable = Denied::Unavailable("there is no key for tickets yet");
        let text = self.sealer.seal(Kind::Ticket, &ticket).ok_or(unavailable)?;
        let renewal =
            RenewalOf { id: ticket.id, identity: ticket.identity, issued: Some(ticket.issued) };
        let renewal = self.sealer.seal(Kind::Renewal, &renewal);
        Ok(Issued { ticket: text, expires: until, renewal })
    }

    /// A ticket for a delivery probe, which reads no event of a publisher, and its id. `None` if there is no key yet.
    pub(crate) fn issue_for_probe(&self, seconds: u64) -> Option<(String, RandomId)> {
        let (id, now) = (RandomId::generate(), now_millis() / 1000);
        let ticket = Ticket {
            id,
            identity: Identity { issuer: "eventcast".into(), subject: "delivery-probe".into() },
            iat: None,
            issued: now,
            until: now.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)),
            topics: vec![format!("eventcast.probe.{id}")],
            broadcast: false,
            class: None,
            probe: true,
        };
        Some((self.sealer.seal(Kind::Ticket, &ticket)?, id))
    }

    /// The grant of a ticket. `is_first_use_limited`: it came in a URL, without a cursor.
    ///
    /// # Errors
    /// It is not valid, or cannot be verified now.
    pub(super) async fn verify(
        &self,
        text: &str,
        is_first_use_limited: bool,
    ) -> Result<Arc<Grant>, Denied> {
        let ticket: Ticket = self.sealer.open(Kind::Ticket, text).await?;
        let now = now_millis() / 1000;
        let renewal = self.state.renewal(ticket.id, &ticket.identity);
        let until = renewal.as_ref().map_or(ticket.until, |r| r.until.max(ticket.until));
        if now >= until {
            return Err(Invalid::new("expired", "The ticket has expired: take a new one.").into());
        }
        if is_first_use_limited && now > ticket.issued + FIRST_USE_SECONDS {
            let detail = "The ticket was issued more than a minute ago. Without a cursor (Last-Event-ID, lastEventId or from=) it \
                 can be used within a minute: take a new one.";
            return Err(Invalid::new("ticket-used-late", detail).into());
        }
        let revoked = self.state.revoked_before(&Revoked::Id(ticket.id)).is_some()
            || self
                .state
                .is_revoked(&ticket.identity.subject, Some(ticket.iat.unwrap_or(ticket.issued)));
        if revoked {
            return Err(Invalid::new("revoked", "The ticket was revoked: log in again.").into());
        }
        let mut topics = patterns(&ticket.topics, ticket.broadcast);
        if let Some(renewal) = renewal {
            topics = topics.meet(&patterns(&renewal.topics, renewal.broadcast)).map_err(|_| {
                Invalid::new("too-many-patterns", "The ticket has too many topics: take a new one.")
            })?;
        }
        Ok(Arc::new(Grant {
            auth_method: if ticket.probe { AuthMethod::Probe } else { AuthMethod::Ticket },
            identity: Some(ticket.identity),
            subscribe: Some(topics),
            publish: None,
            manage: false,
            issued_at: Some(ticket.iat.unwrap_or(ticket.issued)),
            expires: Some(until),
            quota: ticket.class.map(Into::into),
            ticket: Some((ticket.id, ticket.issued)),
        }))
    }

    /// Where the stream `session` of a client with `grant` is renewed; `None` if its grant does not end.
    pub(crate) fn renewal_of(
        self: &Arc<Self>,
        grant: &Grant,
        session: RandomId,
    ) -> Option<Renewal> {
        grant.expires?;
        let (id, issued) = grant.ticket.map_or((session, None), |(id, issued)| (id, Some(issued)));
        let of = RenewalOf { id, identity: grant.identity.clone()?, issued };
        Some(Renewal { tickets: Arc::clone(self), of })
    }

    /// The record that renews what the path ends with, for a client with a fresh `grant`.
    ///
    /// # Errors
    /// The path is not valid, or belongs to another client.
    pub(crate) async fn renew(
        &self,
        sealed: &str,
        grant: &Grant,
        max_seconds: u64,
    ) -> Result<Result<cluster::Renewal, AnotherClient>, Denied> {
        let of: RenewalOf = self.sealer.open(Kind::Renewal, sealed).await?;
        if grant.identity.as_ref() != Some(&of.identity) {
            return Ok(Err(AnotherClient));
        }
        let now = now_millis() / 1000;
        let longest = now.saturating_add(i64::try_from(max_seconds).unwrap_or(i64::MAX));
        let mut until = grant.expires.unwrap_or(i64::MAX).min(longest.max(now + FIRST_USE_SECONDS));
        if of.issued.is_none() {
            until = grant.expires.unwrap_or(now + MAX_TOTAL_SECONDS);
        }
        if let Some(issued) = of.issued {
            until = until.min(issued + MAX_TOTAL_SECONDS);
        }
        let nothing = Topics::nothing();
        let (topics, broadcast) = grant.subscribe.as_ref().unwrap_or(&nothing).describe();
        Ok(Ok(cluster::Renewal {
            id: of.id,
            identity: of.identity,
            until,
            topics: topics.into_iter().map(str::to_owned).collect(),
            broadcast,
        }))
    }
}

/// A renewal belongs to another client.
#[derive(Debug)]
pub(crate) struct AnotherClient;

/// Topics from their texts.
pub(crate) fn patterns(topics: &[String], broadcast: bool) -> Topics {
    Topics::new(topics.iter().filter_map(|p| Pattern::new(p).ok()).collect(), broadcast)
}

#[cfg(test)]
mod tests;
