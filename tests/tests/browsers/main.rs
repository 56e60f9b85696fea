//! Real client libraries and browsers.

mod clients;
mod page;
