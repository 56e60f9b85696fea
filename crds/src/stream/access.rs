//! The stream of what the brokers of all channels of a NATS account share: keys of tickets, revocations and renewals. The operator
//! creates it, or a broker with `nats.createStreams`.
//!
//! Only the last message of a subject is kept, and each message has a time to live. What is stored is republished, so that brokers need
//! no consumer. Only brokers may publish to or read the subjects below
//! [`STORED_PREFIX`], [`CHANGED_PREFIX`] and [`CONTROL_PREFIX`].

use async_nats::jetstream::stream::{Config, DiscardPolicy, Republish, StorageType};

/// Name of the stream.
pub const STREAM: &str = "EVENTCAST_ACCESS";
/// Prefix of the subjects that are stored; `<namespace>.<name>` follows.
pub const STORED_PREFIX: &str = "eventcast.state";
/// Prefix of the subjects under which NATS publishes what was stored.
pub const CHANGED_PREFIX: &str = "eventcast.access";

/// Prefix of the subjects under which brokers ask and tell each other; nothing below it is stored.
pub const CONTROL_PREFIX: &str = "eventcast.ctl";

/// Most bytes of the stream: about 300,000 records. Beyond it, NATS refuses records rather than dropping a revocation.
const MAX_BYTES: i64 = 64 << 20;
/// Most bytes of one record.
const MAX_RECORD_BYTES: i32 = 16 << 10;

/// The configuration that the stream should have, stored by `replicas` NATS servers.
#[must_use]
pub fn desired_config(replicas: usize) -> Config {
    Config {
        name: STREAM.into(),
        description: Some("Eventcast: keys of tickets, revocations and renewals".into()),
        subjects: vec![format!("{STORED_PREFIX}.>")],
        max_messages_per_subject: 1,
        max_bytes: MAX_BYTES,
        max_message_size: MAX_RECORD_BYTES,
        discard: DiscardPolicy::New,
        discard_new_per_subject: false,
        storage: StorageType::File,
        num_replicas: replicas,
        allow_direct: true,
        allow_message_ttl: true,
        republish: Some(Republish {
            source: format!("{STORED_PREFIX}.>"),
            destination: format!("{CHANGED_PREFIX}.>"),
            headers_only: false,
        }),
        ..Config::default()
    }
}
