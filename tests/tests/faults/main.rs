//! Kills, pauses, elections, partitions, and lost and recreated logs, checked by the ledger.

mod fault_cluster;
mod fault_log;
mod fault_partition;
mod fault_single;
mod publish_faults;
mod soak;
