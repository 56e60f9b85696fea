//! The channels of a pool as files, which a fixed number of ConfigMaps brings into its pods: no channel changes the pod template. Pure.

use std::collections::BTreeMap;

use eventcast_crds::{
    config::{ChannelConfig, Retention},
    pool::PoolChannels,
};
use serde_json::Value;

use crate::{names::short_hash, owner::ChannelKey};

/// The names of the shards: the first digit of a hash of the channel.
pub const SHARDS: &str = "0123456789abcdef";
/// Bytes of a shard at most. The API server takes 1 MiB with everything around it.
pub const MAX_SHARD_BYTES: usize = 900 << 10;

/// The name of the file of a shard, which is also its key in the ConfigMap.
#[must_use]
pub fn file_name(shard: char) -> String {
    format!("channels-{shard}.json")
}

/// The shard of a channel.
#[must_use]
pub fn shard_of(channel: &ChannelKey) -> char {
    short_hash(&format!("{}/{}", channel.0, channel.1)).chars().next().unwrap_or('0')
}

/// A channel as its entry in a file: only what differs from the defaults. The pool limits what one channel may use.
#[must_use]
pub fn entry(
    mut config: ChannelConfig,
    generation: i64,
    limits: &PoolChannels,
    is_leaving: bool,
) -> Value {
    // The operator manages the stream.
    config.retention = Retention::default();
    config.generation = Some(generation);
    config.leaving = is_leaving;
    let subscribers = &mut config.delivery.max_subscribers;
    *subscribers = smaller(*subscribers, limits.max_subscribers);
    let rate = &mut config.publishing.max_events_per_second;
    *rate = smaller(*rate, limits.max_events_per_second);
    config.to_sparse_json()
}

/// The smaller of two limits, of which 0 is none.
fn smaller<N: Ord + Default + Copy>(a: N, b: N) -> N {
    let none = N::default();
    match (a == none, b == none) {
        (true, _) => b,
        (_, true) => a,
        _ => a.min(b),
    }
}

/// The text of each shard with the entries of its channels.
#[must_use]
pub fn texts<'a>(
    channels: impl Iterator<Item = (&'a ChannelKey, &'a String)>,
) -> BTreeMap<char, String> {
    let mut entries: BTreeMap<char, BTreeMap<&ChannelKey, &str>> =
        SHARDS.chars().map(|shard| (shard, BTreeMap::new())).collect();
    for (key, entry) in channels {
        entries.entry(shard_of(key)).or_default().insert(key, entry);
    }
    let text = |channels: BTreeMap<&ChannelKey, &str>| {
        // One channel a line: people read it with kubectl.
        let lines: Vec<_> = channels.into_values().collect();
        format!("{{\"channels\":[\n{}\n]}}\n", lines.join(",\n"))
    };
    entries.into_iter().map(|(shard, channels)| (shard, text(channels))).collect()
}

/// The entries in the text of a file. `None` if it cannot be parsed as one.
#[must_use]
pub fn entries(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).unwrap_or_default();
    file["channels"].as_array().cloned().unwrap_or_default()
}

/// Name of the ConfigMap of a shard. `pool` is the name of the pool's objects.
#[must_use]
pub fn config_map_name(pool: &str, shard: char) -> String {
    format!("{pool}-channels-{shard}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_has_what_differs_from_the_defaults_and_the_limits_of_the_pool() {
        let mut config = ChannelConfig::new("shop", "orders");
        config.retention.max_events = 5;
        config.delivery.max_subscribers = 500;
        let limits = PoolChannels {
            max_subscribers: 100,
            max_events_per_second: 7,
            ..PoolChannels::default()
        };
        let limited = json!({
            "namespace": "shop", "name": "orders", "generation": 3,
            "delivery": {"maxSubscribers": 100}, "publishing": {"maxEventsPerSecond": 7},
        });
        assert_eq!(entry(config.clone(), 3, &limits, false), limited);
        let free = PoolChannels::default();
        let leaving = json!({
            "namespace": "shop", "name": "orders", "generation": 4, "leaving": true,
            "delivery": {"maxSubscribers": 500},
        });
        assert_eq!(entry(config, 4, &free, true), leaving);
    }

    #[test]
    fn all_shards_exist_and_a_channel_stays_in_its_own() {
        let keys: Vec<_> = (0..200).map(|i| ("shop".to_owned(), format!("c{i}"))).collect();
        let entries: Vec<_> = keys.iter().map(|key| json!({"name": key.1}).to_string()).collect();
        let files = texts(keys.iter().zip(&entries));
        assert_eq!(files.keys().collect::<String>(), SHARDS);
        let mut found = 0;
        for (shard, text) in &files {
            let file: Value = serde_json::from_str(text).unwrap();
            let channels = file["channels"].as_array().unwrap();
            found += channels.len();
            assert!((1..40).contains(&channels.len()), "{shard}: {}", channels.len());
        }
        assert_eq!(found, 200);
        assert_eq!(files.values().flat_map(|text| super::entries(text)).count(), 200);
        assert_eq!(super::entries("no JSON"), Vec::<Value>::new());
        let none = texts(std::iter::empty());
        assert_eq!(none.len(), 16);
        let one = texts(keys.iter().zip(&entries).take(1));
        let changed = none.iter().filter(|(shard, text)| one[shard] != **text);
        assert_eq!(changed.count(), 1);
    }
}
