//! The operator and the EventChannel definition with a real API server and NATS.

mod admit;
mod admit_access;
mod harness_kube;
mod identities;
mod life_operator;
mod reconcile_brokers;
mod reconcile_drift;
mod reconcile_faults;
mod reconcile_objects;
mod reconcile_rights;
mod reconcile_streams;
mod reconcile_versions;
mod reconcile_waits;
