//! A channel for the unit tests of this crate.

use eventcast_crds::{channel::EventChannel, config::Nats};

use super::Channel;
use crate::{broker_defaults::BrokerDefaults, settings::Settings};

/// The channel `shop/orders` with the rest of its YAML, and the operator's settings.
pub(crate) fn channel(rest: &str) -> (Channel, Settings) {
    channel_with(rest, "")
}

/// As [`channel`], with a file of `--broker-defaults`.
pub(crate) fn channel_with(rest: &str, defaults: &str) -> (Channel, Settings) {
    let settings = Settings {
        broker_image: "registry.example/eventcast-broker:1.2.3".into(),
        pull_policy: "IfNotPresent".into(),
        pull_secrets: Vec::new(),
        nats: Nats { servers: vec!["nats://nats.eventcast:4222".into()], ..Nats::default() },
        cluster: "blue".into(),
        cluster_domain: "cluster.local".into(),
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        network_policies: true,
        pod_monitors: true,
        token_review_binding: Some("eventcast-token-reviewer".into()),
        autopilot: true,
        brokers: BrokerDefaults::parse(defaults).expect("valid settings"),
        operator: "eventcast-system".into(),
        channel_selector: None,
    };
    let channel = Channel::new(&event_channel(rest), &settings).expect("a valid channel");
    (channel, settings)
}

/// The EventChannel `shop/orders` with the rest of its YAML.
pub(crate) fn event_channel(rest: &str) -> EventChannel {
    // Block style: `rest` may begin with further metadata.
    let head = "apiVersion: eventcast.dev/v1alpha1\nkind: EventChannel\n\
                metadata:\n  name: orders\n  namespace: shop\n  uid: 0-1-2\n";
    serde_saphyr::from_str(&format!("{head}{rest}")).expect("an EventChannel")
}
