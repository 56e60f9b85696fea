use std::time::Duration;

use async_nats::jetstream::stream::StorageType;
use eventcast_crds::{config::ChannelConfig, epoch::Epoch, stream};

use super::*;

fn owner(namespace: &str, uid: &str) -> StreamOwner {
    let [cluster, namespace, name, uid] = ["blue", namespace, "orders", uid].map(str::to_owned);
    StreamOwner { cluster, namespace, name, uid }
}

fn desired(epoch: u64) -> Config {
    let channel = ChannelConfig::new("shop", "orders");
    let mut config = stream::desired_config(&channel, &Epoch::mint(epoch));
    owner("shop", "1").write_to(&mut config);
    config
}

fn decide(observed: Option<&Config>, adopt: bool) -> Plan {
    plan(observed, &desired(2), &owner("shop", "1"), adopt, |_, name| name == "gone")
}

#[test]
fn a_missing_stream_is_created_and_a_matching_one_is_kept() {
    assert!(matches!(decide(None, false), Plan::Create));
    assert!(matches!(decide(Some(&desired(1)), false), Plan::Keep), "its own epoch stays");
}

#[test]
fn values_that_the_server_adds_are_no_drift() {
    let mut observed = desired(1);
    observed.metadata.insert("_nats.ver".into(), "2.14".into());
    observed.max_consumers = -1;
    observed.max_messages_per_subject = -1;
    observed.compression = None;
    assert!(matches!(decide(Some(&observed), false), Plan::Keep));
}

#[test]
fn deny_delete_is_kept_and_reported() {
    let mut observed = desired(1);
    observed.deny_delete = true;
    assert!(limitation(&observed).is_some_and(|n| n.contains("cannot be erased")));
    let mut desired = desired(2);
    desired.deny_delete = false;
    let kept = plan(Some(&observed), &desired, &owner("shop", "1"), false, |_, _| false);
    assert!(matches!(kept, Plan::Keep), "{kept:?}");
    observed.max_age = Duration::from_secs(5);
    let changed = plan(Some(&observed), &desired, &owner("shop", "1"), false, |_, _| false);
    let Plan::Update { config, changes, .. } = changed else { panic!("no update") };
    assert!(config.deny_delete && !changes.contains("deny"), "{changes}");
    assert_eq!(limitation(&desired), None);
}

#[test]
fn drift_is_corrected_and_nothing_else_changes() {
    let mut observed = desired(1);
    (observed.max_age, observed.num_replicas) = (Duration::from_secs(5), 3);
    observed.description = Some("somebody's".into());
    let Plan::Update { config, changes, adopts } = decide(Some(&observed), false) else {
        panic!("no update")
    };
    assert_eq!(changes, "max_age 5s -> 604800s, num_replicas 3 -> 1");
    assert!(!adopts);
    assert_eq!(config.description.as_deref(), Some("somebody's"));
    assert_eq!(
        config.metadata["sse.epoch"],
        desired(1).metadata["sse.epoch"],
        "the epoch survives"
    );
    assert_eq!(config.max_age, Duration::from_secs(604_800));
}

#[test]
fn a_channel_that_was_deleted_and_applied_again_keeps_its_stream() {
    let mut observed = desired(1);
    owner("shop", "0").write_to(&mut observed);
    let Plan::Update { config, changes, adopts } = decide(Some(&observed), false) else {
        panic!("no update")
    };
    assert!(!adopts && changes.is_empty(), "not reported");
    assert!(owner("shop", "1").is_same_object(&config));
    assert!(!owner("shop", "1").is_same_object(&observed), "still owned by the deleted object");
}

#[test]
fn the_stream_of_an_existing_channel_is_never_adopted() {
    let mut observed = desired(1);
    owner("bank", "7").write_to(&mut observed);
    for adopt in [false, true] {
        let Plan::Reject(reason, message) = decide(Some(&observed), adopt) else {
            panic!("adopted")
        };
        assert_eq!(reason, reasons::NOT_OWNED);
        assert!(message.contains("belongs to channel bank/orders"), "{message}");
    }
    observed.metadata.insert(stream_metadata::NAME.into(), "gone".into());
    assert!(matches!(decide(Some(&observed), false), Plan::Reject(..)));
    assert!(matches!(decide(Some(&observed), true), Plan::Update { adopts: true, .. }));
    observed.metadata.insert(stream_metadata::CLUSTER.into(), "green".into());
    assert!(matches!(decide(Some(&observed), false), Plan::Reject(..)));
    assert!(matches!(decide(Some(&observed), true), Plan::Update { adopts: true, .. }));
}

#[test]
fn a_foreign_stream_is_adopted_only_on_request_and_keeps_its_subjects() {
    let foreign = Config {
        name: "SSE_shop_orders".into(),
        subjects: vec!["legacy.>".into()],
        ..Config::default()
    };
    let Plan::Reject(reason, message) = decide(Some(&foreign), false) else { panic!("adopted") };
    assert_eq!(reason, reasons::NOT_OWNED);
    assert!(message.contains("adoptionPolicy: Adopt"), "{message}");
    let Plan::Update { config, adopts, .. } = decide(Some(&foreign), true) else {
        panic!("not adopted")
    };
    assert!(adopts);
    assert_eq!(config.subjects, ["legacy.>", "sse.shop.orders.all", "sse.shop.orders.t.>"]);
    assert!(!config.metadata.contains_key("sse.epoch"), "old cursors stay valid");
    let again = decide(Some(&config), true);
    assert!(matches!(again, Plan::Keep), "{again:?}");
}

#[test]
fn differences_that_jetstream_cannot_change_are_rejected() {
    let memory = Config { storage: StorageType::Memory, ..desired(1) };
    let queue = Config { retention: RetentionPolicy::WorkQueue, ..desired(1) };
    let sealed = Config { sealed: true, ..desired(1) };
    for observed in [memory, queue, sealed] {
        let Plan::Reject(reason, message) = decide(Some(&observed), true) else {
            panic!("not rejected")
        };
        assert_eq!(reason, reasons::IMMUTABLE);
        assert!(message.contains("left as they are"), "{message}");
    }
}
