//! Access control: who a client is, what it may do on a channel, and which web pages may act for it.
//!
//! A request presents a [`Credential`]. [`AccessControl`] verifies it and answers with a [`Grant`], which the request is narrowed to
//! before anything is read or stored. A request with an invalid credential is refused, never treated as one without a credential.

mod api_keys;
pub(crate) mod audit;
mod authenticate;
mod cache;
mod certificates;
mod credential;
mod grant;
mod jwt;
mod keys;
mod kubernetes;
mod origins;
mod refusals;
mod rules;
mod seal;
mod template;
mod tickets;
mod tokens;

pub(crate) use api_keys::{Minted, Permissions, mint};
pub(crate) use authenticate::AccessControl;
pub(crate) use credential::{Credential, Denied, Invalid};
pub(crate) use grant::{AuthMethod, Grant, PublishGrant};
pub(crate) use jwt::crypto::install as install_crypto;
pub(crate) use keys::{Issuers, Tasks};
pub(crate) use origins::allowed_origin;
pub(crate) use tickets::{AnotherClient, Renewal, TicketRequest, Tickets, patterns};
