//! How a process of ours lives: logs, signals, the admin listener. The same for broker and operator.

pub mod admin;
pub mod signals;
pub mod telemetry;
