//! The rendered Helm chart, and the files that are generated from types.

mod chart;
mod chart_dashboards;
mod chart_monitoring;
mod chart_security;
mod chart_slo;
mod chart_values;
mod documents;
mod generated;
mod gitops;
mod helm4;
mod json_schema;
mod release;
mod versions;
