//! The chart installed in a whole cluster: `make e2e`.

mod e2e_access;
mod e2e_autopilot;
mod e2e_brokers;
mod e2e_cli;
mod e2e_conditions;
mod e2e_delivery;
mod e2e_families;
mod e2e_fleet;
mod e2e_install;
mod e2e_log;
mod e2e_memory;
mod e2e_monitoring;
mod e2e_nats;
mod e2e_pages;
mod e2e_policies;
mod e2e_pools;
mod e2e_proxies;
mod e2e_system;
mod e2e_tenants;
mod e2e_upgrade;
