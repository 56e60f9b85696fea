//! What a broker is started with: the executable and the configuration that a test gets without asking.

use std::path::PathBuf;

use anyhow::Result;
use eventcast_crds::config::{BrokerConfig, ChannelConfig, Shutdown};

use crate::{ports, process};

/// What a test gets without asking.
pub(super) fn defaults(nats: &str) -> Result<BrokerConfig> {
    let ports = ports::reserve(2)?;
    let mut config = BrokerConfig {
        listen: ([127, 0, 0, 1], ports[0]).into(),
        admin: ([127, 0, 0, 1], ports[1]).into(),
        shutdown: Shutdown { delay_seconds: 0, drain_seconds: 1, grace_seconds: 5 },
        channels: vec![ChannelConfig::new("default", "demo")],
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

/// The broker that was built.
pub(super) fn binary() -> PathBuf {
    process::built("eventcast-broker")
}
