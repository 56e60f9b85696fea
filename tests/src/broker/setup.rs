//! What a broker is started with: the executable and the configuration that a test gets without asking.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result};
use eventcast_crds::config::{Access, BrokerConfig, ChannelConfig, Shutdown};
use ipnet::IpNet;
use serde_json::Value;

use crate::{ports, process, tls::KeyFiles};

/// What a test gets without asking.
pub(super) fn defaults(nats: &str) -> Result<BrokerConfig> {
    let ports = ports::reserve(2)?;
    let mut config = BrokerConfig {
        listen: ([127, 0, 0, 1], ports[0]).into(),
        admin: ([127, 0, 0, 1], ports[1]).into(),
        control_port: Some(0),
        shutdown: Shutdown { delay_seconds: 0, drain_seconds: 1, grace_seconds: 5 },
        channels: vec![open_channel("default", "demo")],
        ..BrokerConfig::default()
    };
    config.nats.servers = nats.split(',').map(str::to_owned).collect();
    config.nats.create_streams = true;
    // the suites of the wire run over both sinks: shards, and hyper alone (0)
    if let Ok(shards) = std::env::var("EVENTCAST_TEST_SHARDS") {
        config.fanout.shards = Some(shards.parse()?);
    }
    Ok(config)
}

/// A certificate, where the suites run over TLS.
pub(super) fn key_files() -> Result<Option<KeyFiles>> {
    std::env::var_os("EVENTCAST_TEST_TLS").map(|_| KeyFiles::new()).transpose()
}

/// A channel that everyone may read and publish to.
#[must_use]
pub fn open_channel(namespace: &str, name: &str) -> ChannelConfig {
    ChannelConfig { access: Access::open(), ..ChannelConfig::new(namespace, name) }
}

/// Keys that are written into the configuration file although its types do not have them, by their JSON pointer: for tests of
/// what a broker does with unknown keys. Everything else is said with [`BrokerConfig`], where a mistyped key does not compile.
pub type RawKeys = BTreeMap<&'static str, Value>;

/// The configuration file: `config` with `raw` in it.
pub(super) fn file(config: &BrokerConfig, raw: &RawKeys) -> Result<Vec<u8>> {
    let mut file = serde_json::to_value(config)?;
    for (pointer, value) in raw {
        let (parent, key) = pointer.rsplit_once('/').context("not a JSON pointer")?;
        let parent = file.pointer_mut(parent).and_then(Value::as_object_mut);
        parent
            .with_context(|| format!("no object for {pointer}"))?
            .insert(key.into(), value.clone());
    }
    Ok(serde_json::to_vec_pretty(&file)?)
}

/// Networks in CIDR form, for `limits.trustedProxies`.
///
/// # Panics
/// When one is not in that form.
#[must_use]
pub fn networks<const N: usize>(cidrs: [&str; N]) -> Vec<IpNet> {
    cidrs.map(|cidr| cidr.parse().expect("a network in CIDR form")).into()
}

/// The broker that was built.
pub(super) fn binary() -> PathBuf {
    process::built("eventcast-broker")
}
