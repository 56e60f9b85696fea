//! Real client libraries and browsers.

mod access;
mod clients;
mod page;
mod script;
