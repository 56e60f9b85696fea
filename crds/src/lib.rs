//! What the operator writes and the broker reads. Imports nothing else of ours: every arrow of the workspace points here.
//!
//! - [`config`]: the broker's configuration file, its defaults, its limits and which of it can change while it runs.

pub mod config;
