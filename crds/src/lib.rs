//! What the parts of Eventcast agree on. Imports nothing else of ours: every arrow of the workspace points here.
//!
//! - [`config`]: the broker's configuration file, its defaults, its limits and which of it can change while it runs. The operator
//!   writes it.
//! - `channel` (feature `kubernetes`): the `EventChannel`, its validation, its status; [`crd`](channel::crd) is what the API
//!   server is given.
//! - `stream` (feature `nats`): the JetStream stream that a channel wants.
//! - [`epoch`]: the name of one incarnation of a log.

#[cfg(feature = "kubernetes")]
pub mod channel;
pub mod config;
pub mod epoch;
#[cfg(feature = "nats")]
pub mod stream;
