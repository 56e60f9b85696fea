//! The commands, one per file: options, requests, output.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod connections;
mod control;
pub(crate) mod drain;
pub(crate) mod history;
pub(crate) mod kick;
pub(crate) mod log_level;
pub(crate) mod man;
pub(crate) mod publish;
pub(crate) mod reach;
pub(crate) mod report;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod subscribe;
pub(crate) mod ticket;
pub(crate) mod token;
pub(crate) mod top;
