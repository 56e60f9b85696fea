//! Real client libraries and browsers.

mod access;
mod clients;
mod examples;
mod js_client;
mod page;
mod recipes;
mod script;
mod website;
