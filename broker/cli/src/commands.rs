//! The commands, one per file: options, requests, output.

pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod history;
pub(crate) mod man;
pub(crate) mod publish;
pub(crate) mod reach;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod subscribe;
pub(crate) mod ticket;
pub(crate) mod token;
pub(crate) mod top;
