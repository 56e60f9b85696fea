//! Commands that make credentials.

pub mod key;
pub use eventcast_token as token;
