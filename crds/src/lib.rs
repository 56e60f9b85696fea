//! The contract between operator and broker. Depends on no other crate of the workspace.
//!
//! - [`config`]: the broker's configuration file, its defaults, its validation, and which of it a running broker can reload. The
//!   operator writes the file.
//! - [`broker_status`]: what a broker reports on its admin port. The operator reads it.
//! - `channel`, `pool` (feature `kubernetes`): the custom resources `EventChannel` and `BrokerPool`; `rules`: the CEL rules that both have;
//!   `crd`: their CRDs; `json_schema`: the same for editors.
//! - `stream` (feature `nats`): the JetStream stream of a channel.
//! - [`conditions`]: the conditions in their status, with the meaning of each reason.
//! - [`orders`]: what the operator asks of a single broker.
//! - [`epoch`]: the name of one incarnation of a log.

pub mod broker_status;
#[cfg(feature = "kubernetes")]
#[allow(
    rustdoc::bare_urls,
    rustdoc::invalid_html_tags,
    reason = "its docs are the plain text of `kubectl explain`"
)]
pub mod channel;
pub mod conditions;
pub mod config;
#[cfg(feature = "kubernetes")]
pub mod crd;
pub mod epoch;
#[cfg(feature = "kubernetes")]
mod json_schema;
pub mod orders;
#[cfg(feature = "kubernetes")]
#[allow(
    rustdoc::bare_urls,
    rustdoc::invalid_html_tags,
    reason = "its docs are the plain text of `kubectl explain`"
)]
pub mod pool;
#[cfg(feature = "kubernetes")]
pub mod rules;
#[cfg(feature = "nats")]
pub mod stream;

/// API group of the custom resources, and prefix of labels and annotations. Roles name it, too.
pub const GROUP: &str = "eventcast.dev";
