//! The Eventcast operator: runs a JetStream stream and brokers for every EventChannel.
//!
//! Modules in layers, top to bottom. A module imports only modules of lower layers:
//!
//! ```text
//! main
//! run
//! admin  args  check  controller
//! looks  pools
//! broker_visits  reconcile  token_reviewers
//! events
//! apply  fleet  pod_marks  stream
//! observe
//! objects
//! channel  pool
//! workload
//! apis  broker_client  broker_config  decisions  nats  permissions  schema  scope
//! drift  leader  metrics  resources  stream_error
//! backoff  broker_reports  claim  settings  status
//! broker_defaults  placement  pool_changes  pool_files  pool_views
//! owner
//! autopilot  kind  names  quantity  rollouts
//! ```
//!
//! A reconciliation ([`reconcile`]) is a pipeline: parse and validate the spec ([`channel`]), ensure the stream ([`stream`]),
//! build the objects ([`objects`]) and apply them ([`apply`]), observe them ([`observe`]), write the status ([`status`]).
//!
//! Pure, without I/O and clock: `broker_config`, `broker_defaults`, `claim`, `channel`, `drift`, `kind`, `names`, `objects`, `observe`, `quantity`,
//! `resources`, `rollouts`, `status`, `autopilot`, `stream::plan`, `stream_error`. The same channel always gives the same objects. Only `apis`, `apply`,
//! `check`, `events`, `leader`, `looks`, `permissions`, `pod_marks`, `reconcile`, `schema`, `scope` and `token_reviewers` call the API server, only `nats` and
//! `stream` call NATS, and only `broker_client` calls brokers.

pub mod admin;
pub mod apis;
pub mod apply;
pub mod args;
pub mod autopilot;
pub mod backoff;
pub mod broker_client;
pub mod broker_config;
pub mod broker_defaults;
pub mod broker_reports;
pub mod broker_visits;
pub mod channel;
pub mod check;
pub mod claim;
pub mod controller;
pub mod decisions;
pub mod drift;
pub mod events;
pub mod fleet;
pub mod kind;
pub mod leader;
pub mod looks;
pub mod metrics;
pub mod names;
pub mod nats;
pub mod objects;
pub mod observe;
pub mod owner;
pub mod permissions;
pub mod placement;
pub mod pod_marks;
pub mod pool;
pub mod pool_changes;
pub mod pool_files;
pub mod pool_views;
pub mod pools;
pub mod quantity;
pub mod reconcile;
pub mod resources;
pub mod rollouts;
pub mod run;
pub mod schema;
pub mod scope;
pub mod settings;
pub mod status;
pub mod stream;
pub mod stream_error;
pub mod token_reviewers;
pub mod workload;
