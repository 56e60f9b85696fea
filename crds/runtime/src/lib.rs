//! Run-time support that both Eventcast programs share.
//!
//! - [`program`]: the main function, from arguments to exit code.
//! - [`telemetry`], [`signals`], [`supervise`], [`restarts`]: logs, shutdown signals, critical tasks, restart backoff.
//! - [`admin`], [`listener`]: the HTTP server for probes and metrics; errors of `accept`.
//! - [`nats`]: connection options from the configuration, and the oldest supported server.

pub mod admin;
mod error_chain;
pub mod fault;
pub mod listener;
pub mod nats;
pub mod program;
pub mod restarts;
pub mod signals;
pub mod supervise;
pub mod telemetry;

pub use error_chain::Chain;
