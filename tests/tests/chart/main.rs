//! The rendered Helm chart, and the files that are generated from types.

mod chart;
mod chart_monitoring;
mod chart_security;
mod generated;
mod gitops;
mod helm4;
mod json_schema;
mod versions;
