//! The broker over its sockets: every rule of the HTTP API, every attack, every limit, with real NATS servers.
//!
//! The numbers of rules (R1 to R24) and attacks (A1 to A35) are in the names of their tests.

mod attacks_bytes;
mod attacks_half_open;
mod attacks_http2;
mod attacks_load;
mod attacks_names;
mod attacks_pages;
mod broker_status;
mod cloudevents;
mod config;
mod dev;
mod dev_refusals;
mod erasure;
mod life;
mod limits_addresses;
mod limits_heads;
mod limits_memory;
mod limits_sockets;
mod memory;
mod metrics;
mod publish;
mod publish_counts;
mod readiness;
mod retention;
mod rules_cursor;
mod rules_heartbeat;
mod rules_http;
mod rules_life;
mod rules_requests;
mod rules_sources;
mod rules_wire;
mod scenario_event_log;
mod scenario_per_user;
mod scenario_plain_stream;
mod scenario_resume;
mod scenario_shared_bus;
mod shutdown;
mod sockets;
mod sockets_leak;
mod sockets_many;
mod straight_to_nats;
mod tls_certificates;
mod tls_handshakes;
mod tls_streams;
