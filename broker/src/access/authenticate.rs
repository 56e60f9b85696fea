//! Verifies what a request presents: each form of credential has a verifier of its own.

use std::sync::Arc;

use eventcast_crds::{
    broker_status::AccessProblem,
    config::{CertificateRule, ChannelConfig, Quota},
};
use tokio::time::Instant;

use super::{
    api_keys::ApiKeyring,
    certificates,
    credential::{API_KEY_PREFIX, Credential, Denied, Invalid, TICKET_PREFIX},
    grant::{AuthMethod, Grant},
    keys::Tasks,
    kubernetes::ServiceAccounts,
    refusals::Refusals,
    tickets::Tickets,
    tokens::Tokens,
};
use crate::{
    client::Client,
    clock::now_seconds,
    cluster::{Needed, SharedState},
    metrics::ChannelMetrics,
};

/// The access control of one channel, for one version of its configuration.
pub(crate) struct AccessControl {
    anonymous: Arc<Grant>,
    tokens: Tokens,
    api_keys: Option<Arc<ApiKeyring>>,
    service_accounts: Option<Arc<ServiceAccounts>>,
    certificates: Vec<CertificateRule>,
    quotas: Vec<Quota>,
    tickets: Arc<Tickets>,
    state: Arc<SharedState>,
    has_tickets: bool,
    is_probed: bool,
    refusals: Arc<Refusals>,
}

impl AccessControl {
    /// The access control of a channel whose brokers share `state`, for a new version of its configuration. What did not change since
    /// `previous` stays loaded.
    pub(crate) fn new(
        config: &ChannelConfig,
        state: &Arc<SharedState>,
        previous: Option<&Self>,
        tasks: &Tasks,
    ) -> Self {
        let access = &config.access;
        let has_credentials = access.accepts_credentials();
        let has_tickets = has_credentials && access.tickets.max_seconds > 0;
        let is_probed = config.probe.is_some();
        state.set_needed(Needed {
            records: has_credentials || is_probed,
            keys: has_tickets || is_probed,
            messages: has_credentials,
        });
        let known_keys = previous.and_then(|previous| previous.api_keys.clone());
        let refusals = previous.map(|previous| Arc::clone(&previous.refusals));
        let service_accounts = access.kubernetes.as_ref();
        Self {
            anonymous: Arc::new(Grant::anonymous(access)),
            tokens: Tokens::new(access, previous.map(|previous| &previous.tokens), tasks),
            api_keys: access.api_keys.as_ref().map(|keys| ApiKeyring::of(keys, known_keys, tasks)),
            service_accounts: service_accounts
                .map(|access| ServiceAccounts::new(access, &config.namespace, &config.name)),
            certificates: access.certificates.clone(),
            quotas: access.quotas.clone(),
            tickets: Arc::new(Tickets::new(Arc::clone(state), config.key().into())),
            state: Arc::clone(state),
            has_tickets,
            is_probed,
            refusals: refusals.unwrap_or_else(|| Arc::new(Refusals::new())),
        }
    }

    /// The tickets of the channel.
    pub(crate) fn tickets(&self) -> &Arc<Tickets> {
        &self.tickets
    }

    /// What is wrong with the keys of this channel.
    pub(crate) fn problems(&self) -> Vec<AccessProblem> {
        let mut problems = self.tokens.problems();
        problems.extend(self.api_keys.iter().filter_map(|keys| keys.problem(&self.quotas)));
        problems.extend(self.service_accounts.iter().filter_map(|accounts| accounts.problem()));
        problems
    }

    /// What a broker that starts should wait for before it is ready.
    pub(crate) fn awaited(&self) -> Option<String> {
        self.tokens.awaited().map(|issuer| format!("the keys of {issuer}"))
    }

    /// Shows the state of the keys in `metrics`.
    pub(crate) fn export(&self, metrics: &ChannelMetrics) {
        let keys = self.api_keys.iter().map(|keys| ("api-keys", keys.len(), None));
        metrics.access_keys(self.tokens.loaded().chain(keys));
        metrics.access_problems(&self.problems());
    }

    /// The grant of a client that presents `credential`. Never that of an anonymous client, if there is a credential.
    ///
    /// # Errors
    /// The credential is not valid, or cannot be verified now.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn authenticate(
        &self,
        credential: Credential<'_>,
        client: Client,
    ) -> Result<Arc<Grant>, Denied> {
        if matches!(credential, Credential::None) {
            return Ok(Arc::clone(&self.anonymous));
        }
        self.state.mark_requested();
        let recognised = self.recognise(credential);
        // Clients with a known credential are exempt: they may share their address with a client that guesses. Verifying a ticket costs
        // less than this check saves.
        let is_ticket = credential.form() == "ticket";
        if recognised.is_none() && !is_ticket {
            self.refusals.check(client, Instant::now()).map_err(Denied::TooMany)?;
        }
        let verified = match recognised {
            Some(grant) => Ok(grant),
            None => self.verify(credential).await,
        };
        let outcome = match verified {
            // At the second of its expiry a credential is no longer valid (RFC 7519, section 4.1.4).
            Ok(grant) if grant.expires.is_some_and(|at| at <= now_seconds()) => {
                Err(Invalid::new("expired", "The credential has expired. Get a new one.").into())
            }
            Ok(grant) => self.check_revoked(&grant).await.map(|()| grant),
            denied => denied,
        };
        if matches!(outcome, Err(Denied::Invalid(_))) {
            self.refusals.count(client, Instant::now());
        }
        outcome
    }

    /// The grant of a credential that was verified recently, or that is cheap to verify.
    fn recognise(&self, credential: Credential<'_>) -> Option<Arc<Grant>> {
        match credential {
            Credential::Bearer(key) if key.starts_with(API_KEY_PREFIX) => {
                self.api_keys.as_ref()?.verify(key, &self.quotas).ok()
            }
            Credential::Bearer(token) => self
                .tokens
                .recognise(token)
                .or_else(|| self.service_accounts.as_ref()?.recognise(token)),
            Credential::Cookie(token) => self.tokens.recognise(token),
            Credential::Certificate(certificate) => {
                certificates::verify(&self.certificates, certificate).ok()
            }
            Credential::None | Credential::Ticket { .. } => None,
        }
    }

    async fn verify(&self, credential: Credential<'_>) -> Result<Arc<Grant>, Denied> {
        match credential {
            Credential::None => Ok(Arc::clone(&self.anonymous)),
            Credential::Certificate(certificate) => {
                certificates::verify(&self.certificates, certificate)
            }
            Credential::Bearer(key) if key.starts_with(API_KEY_PREFIX) => match &self.api_keys {
                Some(keys) => keys.verify(key, &self.quotas),
                None => Err(not_accepted("API keys")),
            },
            Credential::Ticket { text, .. } | Credential::Cookie(text)
                if text.starts_with(API_KEY_PREFIX) =>
            {
                let detail = "An API key is accepted in Authorization: Bearer alone. If it was in a URL, replace it: URLs are logged.";
                Err(Invalid::new("form", detail).into())
            }
            Credential::Ticket { text, has_cursor } if self.has_tickets || self.is_probed => {
                let grant = self.tickets.verify(text, !has_cursor).await?;
                if grant.auth_method == AuthMethod::Probe || self.has_tickets {
                    return Ok(grant);
                }
                Err(not_accepted("tickets"))
            }
            Credential::Cookie(text) if self.has_tickets && text.starts_with(TICKET_PREFIX) => {
                self.tickets.verify(text, false).await
            }
            Credential::Ticket { .. } => Err(not_accepted("tickets")),
            Credential::Bearer(text) | Credential::Cookie(text)
                if text.starts_with(TICKET_PREFIX) =>
            {
                Err(not_accepted("tickets in this place"))
            }
            // A service account's token has the cluster as its issuer. If the channel lists the cluster as an issuer, that entry's keys and
            // rules apply.
            Credential::Bearer(token)
                if let Some(accounts) = &self.service_accounts
                    && !self.tokens.has_issuer_of(token) =>
            {
                accounts.verify(token).await
            }
            Credential::Bearer(token) | Credential::Cookie(token) => {
                self.tokens.verify(token).await
            }
        }
    }

    /// Checks that the credentials of the subject of `grant` are not revoked. API keys are not checked: they are removed instead. Tickets
    /// were checked against their own time of issue.
    ///
    /// # Errors
    /// It is revoked, or revocations were not read yet.
    async fn check_revoked(&self, grant: &Grant) -> Result<(), Denied> {
        let is_checked = !matches!(
            grant.auth_method,
            AuthMethod::ApiKey | AuthMethod::Ticket | AuthMethod::Probe
        );
        let Some(identity) = grant.identity.as_ref().filter(|_| is_checked) else {
            return Ok(());
        };
        if !self.state.wait_until_known().await {
            return Err(Denied::Unavailable("the state that brokers share was not read yet"));
        }
        if self.state.is_revoked(&identity.subject, grant.issued_at) {
            let detail = "The credential was revoked: log in again.";
            return Err(Invalid::new("revoked", detail).of(&identity.subject).into());
        }
        Ok(())
    }
}

/// The channel is not configured for this form of credential.
fn not_accepted(form: &str) -> Denied {
    Invalid::new("form", format!("The channel does not accept {form}.")).into()
}
