//! Run-time support that both Eventcast programs share.
//!
//! - [`program`]: the main function, from arguments to exit code.
//! - [`telemetry`], [`log_level_file`], [`signals`], [`supervise`], [`restarts`]: logs, shutdown signals, critical tasks, restart backoff.
//! - [`admin`], [`control`], [`listener`]: the HTTP server for probes and metrics; that for administrators on the same machine; listening
//!   sockets, errors of `accept`.
//! - [`process_metrics`]: the metrics that every process has: its build, files, memory and processor time.
//! - [`metrics_reference`]: the reference of metrics, for the documents.
//! - [`openmetrics`]: the text format of metrics with exemplars.
//! - [`traces`]: spans on their way to an OpenTelemetry collector.
//! - [`nats`]: connection options from the configuration, and the oldest supported server.

pub mod admin;
pub mod control;
mod error_chain;
pub mod fault;
mod http_server;
pub mod listener;
pub mod log_level_file;
pub mod metrics_reference;
pub mod nats;
pub mod openmetrics;
pub mod process_metrics;
pub mod program;
pub mod restarts;
pub mod signals;
pub mod supervise;
pub mod telemetry;
pub mod traces;

pub use error_chain::Chain;
