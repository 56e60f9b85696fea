//! The operator and the EventChannel definition with a real API server and NATS.

mod admit;
mod admit_access;
mod autopilot;
mod backups;
mod broker_defaults;
mod fleet;
mod gitops;
mod harness_kube;
mod helm;
mod identities;
mod life_operator;
mod manifests;
mod nats_options;
mod pods;
mod reconcile_brokers;
mod reconcile_delivery;
mod reconcile_drift;
mod reconcile_edits;
mod reconcile_faults;
mod reconcile_objects;
mod reconcile_rights;
mod reconcile_streams;
mod reconcile_versions;
mod reconcile_waits;
mod simulated_brokers;
mod two_operators;
