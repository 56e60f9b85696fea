//! The JetStream stream that a channel wants. The operator creates and updates it, or the broker where it is asked to. Pure.

use std::{collections::HashMap, hash::Hasher as _, time::Duration};

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use fnv::FnvHasher;

use crate::{
    config::{ChannelConfig, Storage},
    epoch::Epoch,
};

/// Metadata key of the epoch; whoever creates the stream mints it.
pub const EPOCH: &str = "sse.epoch";

/// What headers and subject may add to the data of an event, in bytes.
const HEADERS: usize = 16 << 10;

/// Bytes of the largest message that `channel` may store: the data of an event and its headers.
#[must_use]
pub fn largest_message(channel: &ChannelConfig) -> usize {
    // An event of many lines is not longer in the log.
    channel.publishing.max_event_bytes.saturating_add(HEADERS)
}

/// What is wrong, and what to do, where NATS takes messages of `max_payload` bytes and `channel` may store larger ones. NATS
/// counts headers as payload.
#[must_use]
pub fn exceeds_payload(channel: &ChannelConfig, max_payload: usize) -> Option<String> {
    let needed = largest_message(channel);
    (needed > max_payload).then(|| {
        let wanted = channel.publishing.max_event_bytes;
        let remedy = match max_payload.saturating_sub(HEADERS) {
            0 => String::new(),
            fits => format!(", or lower maxEventBytes to {fits}"),
        };
        format!(
            "publishing.maxEventBytes is {wanted}, but NATS takes messages of at most {max_payload} bytes, headers included: set \
             max_payload of nats-server to {needed} or more{remedy}"
        )
    })
}

/// The stream of `channel`, in its incarnation `epoch`.
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
        max_message_size: i32::try_from(largest_message(channel)).unwrap_or(i32::MAX),
        discard: DiscardPolicy::Old,
        storage: match retention.storage {
            Storage::File => StorageType::File,
            Storage::Memory => StorageType::Memory,
        },
        num_replicas: retention.replicas,
        duplicate_window: Duration::from_secs(retention.duplicate_window_seconds),
        allow_direct: true,
        // Single events can be erased: the right to be forgotten.
        deny_delete: false,
        allow_message_ttl: true,
        metadata: HashMap::from([(EPOCH.to_owned(), epoch.as_str().to_owned())]),
        ..Config::default()
    }
}

/// The epoch of a stream: from its metadata, else, for one that others made, from the time of its creation.
#[must_use]
pub fn epoch_of(info: &Info) -> Epoch {
    let named = info.config.metadata.get(EPOCH).and_then(|e| e.parse().ok());
    named.unwrap_or_else(|| {
        // FNV-1a: the same on every replica and with every compiler. Its upper bits are mixed best, and an epoch takes the lower.
        let mut hash = FnvHasher::default();
        hash.write(&info.created.unix_timestamp_nanos().to_be_bytes());
        Epoch::mint(hash.finish() ^ (hash.finish() >> 29))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_nats_does_not_take_is_told_with_both_remedies() {
        let mut channel = ChannelConfig::new("a", "b");
        assert_eq!(exceeds_payload(&channel, 1 << 20), None, "the defaults of both fit");
        channel.publishing.max_event_bytes = (1 << 20) - HEADERS;
        assert_eq!(exceeds_payload(&channel, 1 << 20), None, "to the byte");
        channel.publishing.max_event_bytes += 1;
        let told = exceeds_payload(&channel, 1 << 20).unwrap();
        assert!(told.contains("max_payload of nats-server to 1048577 or more"), "{told}");
        assert!(told.ends_with("or lower maxEventBytes to 1032192"), "{told}");
        let told = exceeds_payload(&channel, 1024).unwrap();
        assert!(!told.contains("lower"), "nothing lower would fit: {told}");
    }
}
