//! What the brokers of a channel share beside its log: keys of tickets, revocations and renewals of grants.
//!
//! They are the last messages of the subjects of one small stream, which NATS also republishes: a broker needs no consumer. It
//! subscribes to what is republished, and reads everything when it has connected and once a minute. While NATS is away, what is
//! known holds.
//!
//! [`records`] are the messages, [`state`] is what a broker knows of a channel, [`store`] reads and writes the stream, [`follow`]
//! keeps the state up to date.

mod follow;
mod records;
mod state;
mod store;

#[cfg(test)]
pub(crate) use records::TicketKey;
pub(crate) use records::{Record, Renewal, Revocation, Revoked};
pub(crate) use state::SharedState;
pub(crate) use store::{NotStored, Store};
