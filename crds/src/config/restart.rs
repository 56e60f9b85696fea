//! Which keys a running broker cannot apply. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{BrokerConfig, is_default_control_port};

impl BrokerConfig {
    /// The keys that a broker reads only at its start, with their values. A running broker can reload a configuration in which these are
    /// unchanged.
    #[must_use]
    pub fn restart_part(&self) -> BTreeMap<&'static str, serde_json::Value> {
        // Without `..`: a new key does not compile until it is assigned to one side.
        let Self {
            listen,
            tls,
            admin,
            control_port,
            log: _,
            telemetry,
            page,
            channel_list: _,
            nats,
            fanout,
            memory,
            limits,
            query,
            shutdown: _,
            balancing: _,
            channels: _,
            channels_folder,
        } = self;
        let value = |v: serde_json::Result<serde_json::Value>| v.unwrap_or_default();
        let mut keys = BTreeMap::from([
            ("listen", value(serde_json::to_value(listen))),
            ("tls", value(serde_json::to_value(tls))),
            ("admin", value(serde_json::to_value(admin))),
            ("page", value(serde_json::to_value(page))),
            ("nats", value(serde_json::to_value(nats))),
            ("fanout", value(serde_json::to_value(fanout))),
            ("memory", value(serde_json::to_value(memory))),
            ("limits.connections", limits.connections.into()),
            ("limits.publishesInFlight", limits.publishes_in_flight.into()),
            ("limits.bodyBytes", limits.body_bytes.into()),
            ("limits.bodyBytesPerAddress", limits.body_bytes_per_address.into()),
            ("query.concurrent", query.concurrent.into()),
            ("query.answerBytes", query.answer_bytes.into()),
        ]);
        // Left out by default: the keys of older versions must keep their hash, or brokers would restart.
        if !telemetry.is_default() {
            keys.insert("telemetry", value(serde_json::to_value(telemetry)));
        }
        if channels_folder.is_some() {
            keys.insert("channelsFolder", value(serde_json::to_value(channels_folder)));
        }
        if !is_default_control_port(control_port) {
            keys.insert("controlPort", value(serde_json::to_value(control_port)));
        }
        keys
    }

    /// The keys that differ between `self` and `new` and need a restart.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let (old, new) = (self.restart_part(), new.restart_part());
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        keys.into_iter().filter(|key| old.get(key) != new.get(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_need_a_restart_are_found() {
        let old = BrokerConfig::default();
        let mut new = old.clone();
        new.shutdown.drain_seconds = 99;
        new.limits.subscribers = 1;
        assert_eq!(old.needs_restart(&new), Vec::<&str>::new());
        new.limits.connections = 1;
        new.nats.servers.clear();
        assert_eq!(old.needs_restart(&new), ["limits.connections", "nats"]);
        let folder = BrokerConfig { channels_folder: Some("/x".into()), ..old.clone() };
        assert_eq!(old.needs_restart(&folder), ["channelsFolder"]);
        assert_eq!(folder.needs_restart(&old), ["channelsFolder"]);
        let closed = BrokerConfig { control_port: None, ..old.clone() };
        assert_eq!(old.needs_restart(&closed), ["controlPort"]);
    }
}
