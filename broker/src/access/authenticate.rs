//! Verifies what a request presents.

use std::sync::Arc;

use eventcast_crds::{broker_status::AccessProblem, config::ChannelConfig};

use super::{
    credential::{Credential, Denied, Invalid},
    grant::Grant,
    kubernetes::ServiceAccounts,
};
use crate::client::Client;

/// The access control of one channel, for one version of its configuration.
pub(crate) struct AccessControl {
    anonymous: Arc<Grant>,
    service_accounts: Option<Arc<ServiceAccounts>>,
}

impl AccessControl {
    pub(crate) fn new(config: &ChannelConfig) -> Self {
        let kubernetes = config.access.kubernetes.as_ref();
        Self {
            anonymous: Arc::new(Grant::anonymous(&config.access)),
            service_accounts: kubernetes
                .map(|access| ServiceAccounts::new(access, &config.namespace, &config.name)),
        }
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
        match credential {
            Credential::None => Ok(Arc::clone(&self.anonymous)),
            Credential::Bearer(token) if let Some(accounts) = &self.service_accounts => {
                accounts.verify(token).await
            }
            Credential::Bearer(_) | Credential::Ticket(_) | Credential::Cookie(_) => {
                let detail = "The channel accepts no credential of this form.";
                Err(Invalid::new("form", detail).into())
            }
        }
    }
}
