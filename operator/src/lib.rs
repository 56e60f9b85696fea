//! The Eventcast operator: runs a JetStream stream and brokers for every EventChannel.
//!
//! Modules in layers, top to bottom. A module imports only modules of lower layers:
//!
//! ```text
//! main
//! run
//! args  admin  check  controller
//! reconcile  subscribers
//! events
//! apply  observe  stream
//! build
//! channel
//! nats  schema  scope  apis  permissions
//! drift  leader  metrics  stream_error
//! settings  status  backoff
//! kind  names
//! ```
//!
//! A reconciliation ([`reconcile`]) is a pipeline: parse and validate the spec ([`channel`]), ensure the stream ([`stream`]),
//! build the objects and apply them ([`apply`]), observe them ([`observe`]), write the status ([`status`]).
//!
//! Pure, without I/O and clock: `build`, `channel`, `drift`, `kind`, `names`, `observe`, `status`, `stream::plan`,
//! `stream_error`. The same channel always gives the same objects. Only `apply`, `apis`, `check`, `events`, `leader`,
//! `permissions`, `reconcile`, `schema` and `scope` call the API server, only `nats` and `stream` call NATS, and only `subscribers`
//! calls brokers.

pub mod admin;
pub mod apis;
pub mod apply;
pub mod args;
pub mod backoff;
pub mod build;
pub mod channel;
pub mod check;
pub mod controller;
pub mod drift;
pub mod events;
pub mod kind;
pub mod leader;
pub mod metrics;
pub mod names;
pub mod nats;
pub mod observe;
pub mod permissions;
pub mod reconcile;
pub mod run;
pub mod schema;
pub mod scope;
pub mod settings;
pub mod status;
pub mod stream;
pub mod stream_error;
pub mod subscribers;
