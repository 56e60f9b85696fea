//! Tests of the harness: the ledger and the NATS servers that other suites rely on.

mod harness_ledger;
mod harness_nats;
