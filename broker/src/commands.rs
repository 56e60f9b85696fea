//! Commands that make credentials.

pub mod key;
pub mod token;
