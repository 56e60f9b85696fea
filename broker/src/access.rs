//! Access control: who a client is, what it may do on a channel, and which web pages may act for it.
//!
//! A request presents a [`Credential`]. [`AccessControl`] verifies it and answers with a [`Grant`], which the request is narrowed to
//! before anything is read or stored. A credential that is presented and does not hold is never treated as if it were absent.

mod api_keys;
mod authenticate;
mod credential;
mod grant;
mod jwt;
mod kubernetes;
mod origins;
mod rules;
mod seal;
mod template;
mod tickets;

pub(crate) use authenticate::AccessControl;
pub(crate) use credential::{Credential, Denied, Invalid};
pub(crate) use grant::{Grant, PublishGrant, Way};
pub(crate) use origins::allowed_origin;
pub(crate) use tickets::{AnotherClient, Renewal, TicketRequest, patterns};
