//! Documents that are generated from the code, as Markdown. Pure.

pub mod conditions;
pub mod configuration;
pub mod custom_resource;
