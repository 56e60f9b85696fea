//! Verifies what a request presents.

use std::sync::Arc;

use eventcast_crds::{broker_status::AccessProblem, config::ChannelConfig};

use super::{
    credential::{Credential, Denied, Invalid, TICKET_PREFIX},
    grant::{Grant, Way},
    kubernetes::ServiceAccounts,
    tickets::Tickets,
};
use crate::{client::Client, cluster::SharedState};

/// The access control of one channel, for one version of its configuration.
pub(crate) struct AccessControl {
    anonymous: Arc<Grant>,
    service_accounts: Option<Arc<ServiceAccounts>>,
    tickets: Arc<Tickets>,
    state: Arc<SharedState>,
    has_tickets: bool,
}

impl AccessControl {
    /// The access control of a channel whose brokers share `state`.
    pub(crate) fn new(config: &ChannelConfig, state: &Arc<SharedState>) -> Self {
        let access = &config.access;
        let has_credentials =
            !access.tokens.is_empty() || access.kubernetes.is_some() || access.api_keys.is_some();
        let has_tickets = has_credentials && access.tickets.max_seconds > 0;
        state.set_needed(has_credentials, has_tickets);
        let service_accounts = access.kubernetes.as_ref();
        Self {
            anonymous: Arc::new(Grant::anonymous(access)),
            service_accounts: service_accounts
                .map(|access| ServiceAccounts::new(access, &config.namespace, &config.name)),
            tickets: Arc::new(Tickets::new(Arc::clone(state), config.key().into())),
            state: Arc::clone(state),
            has_tickets,
        }
    }

    /// The tickets of the channel.
    pub(crate) fn tickets(&self) -> &Arc<Tickets> {
        &self.tickets
    }

    /// What is wrong with the keys of this channel.
    pub(crate) fn problems(&self) -> Vec<AccessProblem> {
        self.service_accounts.iter().filter_map(|accounts| accounts.problem()).collect()
    }

    /// The grant of a client that presents `credential`. Never that of an anonymous client, if there is a credential.
    ///
    /// # Errors
    /// The credential does not hold, or cannot be judged now.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn authenticate(
        &self,
        credential: Credential<'_>,
        _client: Client,
    ) -> Result<Arc<Grant>, Denied> {
        let grant = match credential {
            Credential::None => return Ok(Arc::clone(&self.anonymous)),
            Credential::Ticket { text, has_cursor } if self.has_tickets => {
                return self.tickets.verify(text, !has_cursor).await;
            }
            Credential::Cookie(text) if self.has_tickets && text.starts_with(TICKET_PREFIX) => {
                return self.tickets.verify(text, false).await;
            }
            Credential::Bearer(token) if let Some(accounts) = &self.service_accounts => {
                accounts.verify(token).await?
            }
            Credential::Bearer(_) | Credential::Ticket { .. } | Credential::Cookie(_) => {
                let detail = "The channel accepts no credential of this form.";
                return Err(Invalid::new("form", detail).into());
            }
        };
        self.check_revoked(&grant).await?;
        Ok(grant)
    }

    /// Checks that what was issued to the subject of `grant` is not revoked. API keys are not: they are removed.
    ///
    /// # Errors
    /// It is revoked, or revocations were not read yet.
    async fn check_revoked(&self, grant: &Grant) -> Result<(), Denied> {
        let Some(identity) = grant.identity.as_ref().filter(|_| grant.way != Way::ApiKey) else {
            return Ok(());
        };
        if !self.state.wait_until_known().await {
            return Err(Denied::Unavailable("the state that brokers share was not read yet"));
        }
        if self.state.is_revoked(&identity.subject, grant.issued_at) {
            return Err(Invalid::new("revoked", "The credential was revoked: log in again.").into());
        }
        Ok(())
    }
}
