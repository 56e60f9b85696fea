//! The Eventcast operator: makes a JetStream stream and brokers of every EventChannel.
//!
//! ```text
//! main -> run -> controller -> reconcile -> { apply, stream, observe, status, build, channel } -> crds
//!                leader (one of several works)      nats, scope (what is asked and watched)
//! ```
//!
//! A visit is a pipeline: read, validate (`channel`), ensure the stream (`stream`), build (`build`), apply (`apply`), look
//! (`observe`), report (`status`). `channel`, `build`, `drift`, `observe`, `status`, `stream::plan`, `kind` and `names` are pure: the same
//! channel gives the same objects. Only `apply`, `reconcile`, `leader`, `events`, `subscribers`, `scope`, `schema` and
//! `permissions` speak to the API server, only `stream` and `nats` to NATS.

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
pub mod subscribers;
