//! The JetStream stream of a channel. The operator creates and updates it, or the broker with `nats.createStreams`. Pure.

pub mod access;

use std::{collections::HashMap, hash::Hasher as _, time::Duration};

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use fnv::FnvHasher;

use crate::{
    config::{ChannelConfig, Storage},
    epoch::Epoch,
};

/// Metadata key of the epoch. The creator of the stream chooses the epoch.
pub const EPOCH: &str = "sse.epoch";

/// Maximum size of the headers and the subject of an event, in bytes.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Size of the largest message that `channel` may store: the data of an event and its headers, in bytes.
#[must_use]
pub fn max_message_bytes(channel: &ChannelConfig) -> usize {
    channel.publishing.max_event_bytes.saturating_add(MAX_HEADER_BYTES)
}

/// Describes the problem and its remedies if `channel` may store larger messages than NATS accepts. `max_payload` is the limit of
/// NATS in bytes, which includes headers.
#[must_use]
pub fn exceeds_payload(channel: &ChannelConfig, max_payload: usize) -> Option<String> {
    let needed = max_message_bytes(channel);
    (needed > max_payload).then(|| {
        let wanted = channel.publishing.max_event_bytes;
        let remedy = match max_payload.saturating_sub(MAX_HEADER_BYTES) {
            0 => String::new(),
            fits => format!(", or lower maxEventBytes to {fits}"),
        };
        format!(
            "publishing.maxEventBytes is {wanted}, but NATS accepts messages of at most {max_payload} bytes, headers included: set \
             max_payload of nats-server to {needed} or more{remedy}"
        )
    })
}

/// The configuration that the stream of `channel` should have. `epoch` is used only when the stream is created.
#[must_use]
pub fn desired_config(channel: &ChannelConfig, epoch: &Epoch) -> Config {
    let (prefix, retention) = (channel.prefix(), &channel.retention);
    let limit = |n: u64| {
        if n == 0 { -1 } else { i64::try_from(n).unwrap_or(i64::MAX) }
    };
    Config {
        name: channel.stream_name(),
        subjects: vec![format!("{prefix}.all"), format!("{prefix}.t.>")],
        max_age: Duration::from_secs(retention.max_age_seconds),
        max_bytes: limit(retention.max_bytes),
        max_messages: limit(retention.max_events),
        max_message_size: i32::try_from(max_message_bytes(channel)).unwrap_or(i32::MAX),
        discard: DiscardPolicy::Old,
        storage: match retention.storage {
            Storage::File => StorageType::File,
            Storage::Memory => StorageType::Memory,
        },
        num_replicas: retention.replicas,
        duplicate_window: Duration::from_secs(retention.duplicate_window_seconds),
        allow_direct: true,
        // Single events must be erasable (GDPR, right to erasure).
        deny_delete: false,
        allow_message_ttl: true,
        metadata: HashMap::from([(EPOCH.to_owned(), epoch.as_str().to_owned())]),
        ..Config::default()
    }
}

/// The epoch of a stream: from its metadata, else derived from the creation time of a stream that was created by somebody else.
#[must_use]
pub fn epoch_of(info: &Info) -> Epoch {
    let named = info.config.metadata.get(EPOCH).and_then(|e| e.parse().ok());
    named.unwrap_or_else(|| {
        // FNV-1a gives the same hash on every replica and with every compiler. The epoch uses the lower bits, so the better mixed upper
        // bits are folded into them.
        let mut hash = FnvHasher::default();
        hash.write(&info.created.unix_timestamp_nanos().to_be_bytes());
        Epoch::mint(hash.finish() ^ (hash.finish() >> 29))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_nats_does_not_accept_is_reported_with_both_remedies() {
        let mut channel = ChannelConfig::new("a", "b");
        assert_eq!(exceeds_payload(&channel, 1 << 20), None, "the defaults of both fit");
        channel.publishing.max_event_bytes = (1 << 20) - MAX_HEADER_BYTES;
        assert_eq!(exceeds_payload(&channel, 1 << 20), None, "to the byte");
        channel.publishing.max_event_bytes += 1;
        let message = exceeds_payload(&channel, 1 << 20).unwrap();
        assert!(message.contains("max_payload of nats-server to 1048577 or more"), "{message}");
        assert!(message.ends_with("or lower maxEventBytes to 1032192"), "{message}");
        let message = exceeds_payload(&channel, 1024).unwrap();
        assert!(!message.contains("lower"), "nothing lower would fit: {message}");
    }
}
