//! How a process of ours lives: logs, signals, the admin listener, supervision. The same for broker and operator.

pub mod admin;
mod chain;
pub mod fault;
pub mod listen;
pub mod restarts;
pub mod signals;
pub mod supervise;
pub mod telemetry;

pub use chain::Chain;
