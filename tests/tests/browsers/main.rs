//! Real client libraries and browsers.

mod access;
mod clients;
mod js_client;
mod page;
mod recipes;
mod script;
