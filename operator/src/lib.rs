//! The Eventcast operator: runs a JetStream stream and brokers for every EventChannel.
//!
//! A module imports only modules of lower layers, which docs/ARCHITECTURE.md lists.
//!
//! A reconciliation ([`reconcile`]) is a pipeline: parse and validate the spec ([`channel`]), ensure the stream ([`stream`]), decide which brokers
//! serve the channel ([`placement`]), build the objects ([`objects`]) and apply them ([`apply`]), observe them ([`observe`]), write the status ([`status`]).
//! [`pools`] does the same for BrokerPools.
//!
//! Pure, without I/O and clock: `broker_config`, `broker_defaults`, `claim`, `channel`, `drift`, `kind`, `names`, `objects`, `observe`, `owner`, `placement`, `pool`,
//! `pool_files`, `quantity`, `resources`, `rollouts`, `status`, `workload`, `autopilot`, `stream::plan`, `stream_error`. The same channel always gives the same objects. Only `apis`, `apply`,
//! `check`, `claims`, `events`, `leader`, `looks`, `permissions`, `pod_marks`, `pools`, `reconcile`, `schema`, `scope` and `token_reviewers` call the API server, only `nats` and
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
pub mod broker_polls;
pub mod broker_reports;
pub mod cache_sync;
pub mod channel;
pub mod check;
pub mod claim;
pub mod claims;
pub mod clock;
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
pub mod spans;
pub mod status;
pub mod stream;
pub mod stream_error;
pub mod token_reviewers;
pub mod workload;
