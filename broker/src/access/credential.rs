//! Credentials as clients present them, and why they are refused.

use std::time::Duration;

use crate::tls::ClientCertificate;

/// The beginning of every ticket.
pub(crate) const TICKET_PREFIX: &str = "evt_";
/// The beginning of every API key.
pub(crate) const API_KEY_PREFIX: &str = "evk_";

/// A credential, not verified.
#[derive(Clone, Copy)]
pub(crate) enum Credential<'a> {
    /// None was presented.
    None,
    /// A token or a key in `Authorization: Bearer` (RFC 6750).
    Bearer(&'a str),
    /// A ticket in the query.
    Ticket {
        text: &'a str,
        /// Whether the request has a cursor, as a client that reconnects does.
        has_cursor: bool,
    },
    /// A token or a ticket in a cookie that the URL asks for.
    Cookie(&'a str),
    /// The certificate of the connection, for a request without any of the others.
    Certificate(&'a ClientCertificate),
}

impl Credential<'_> {
    /// Its form, before it is verified: the label of metrics.
    pub(crate) fn form(&self) -> &'static str {
        match self {
            Self::None => "anonymous",
            Self::Bearer(text) if text.starts_with(API_KEY_PREFIX) => "api-key",
            Self::Ticket { .. } => "ticket",
            Self::Cookie(text) if text.starts_with(TICKET_PREFIX) => "ticket",
            Self::Bearer(_) | Self::Cookie(_) => "token",
            Self::Certificate(_) => "certificate",
        }
    }
}

/// Why a client has no grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The credential was checked and is not valid.
    Invalid(Invalid),
    /// It cannot be verified now: keys were never loaded, or another service is unavailable. Says what is missing.
    Unavailable(&'static str),
    /// Too many credentials of this client were refused.
    TooMany(Duration),
}

/// The check that a credential failed. It is reported to the client, without any value of the credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Invalid {
    /// The name of the check, for clients and metrics.
    pub(crate) check: &'static str,
    /// What is wrong, and what to do.
    pub(crate) detail: String,
    /// Whose credential it is, if that is certain: for the log, not for the client.
    pub(crate) subject: Option<Box<str>>,
}

impl Invalid {
    pub(crate) fn new(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, detail: detail.into(), subject: None }
    }

    /// The same for a client that is known to be `subject`.
    pub(crate) fn of(self, subject: &str) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }
}

impl From<Invalid> for Denied {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}
