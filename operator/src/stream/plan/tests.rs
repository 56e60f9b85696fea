use std::time::Duration;

use async_nats::jetstream::stream::StorageType;
use eventcast_crds::{config::ChannelConfig, epoch::Epoch, stream};

use super::*;

fn mark(namespace: &str, uid: &str) -> Mark {
    let [cluster, namespace, name, uid] = ["blue", namespace, "orders", uid].map(str::to_owned);
    Mark { cluster, namespace, name, uid }
}

fn wanted(epoch: u64) -> Config {
    let channel = ChannelConfig::new("shop", "orders");
    let mut config = stream::wanted(&channel, &Epoch::mint(epoch));
    mark("shop", "1").put(&mut config);
    config
}

fn decide(observed: Option<&Config>, adopt: bool) -> Plan {
    plan(observed, &wanted(2), &mark("shop", "1"), adopt, |_, name| name == "gone")
}

#[test]
fn a_missing_stream_is_created_and_one_as_it_should_be_is_left() {
    assert!(matches!(decide(None, false), Plan::Create));
    assert!(matches!(decide(Some(&wanted(1)), false), Plan::Keep), "its own epoch stays");
}

#[test]
fn what_the_server_adds_is_no_drift() {
    let mut observed = wanted(1);
    observed.metadata.insert("_nats.ver".into(), "2.14".into());
    observed.max_consumers = -1;
    observed.max_messages_per_subject = -1;
    observed.compression = None;
    assert!(matches!(decide(Some(&observed), false), Plan::Keep));
}

#[test]
fn a_stream_that_denies_to_delete_is_kept_so_and_says_it() {
    let mut observed = wanted(1);
    observed.deny_delete = true;
    assert!(note(&observed).is_some_and(|n| n.contains("cannot be erased")));
    let mut wanted = wanted(2);
    wanted.deny_delete = false;
    let kept = plan(Some(&observed), &wanted, &mark("shop", "1"), false, |_, _| false);
    assert!(matches!(kept, Plan::Keep), "{kept:?}");
    observed.max_age = Duration::from_secs(5);
    let changed = plan(Some(&observed), &wanted, &mark("shop", "1"), false, |_, _| false);
    let Plan::Update { config, changes, .. } = changed else { panic!("no update") };
    assert!(config.deny_delete && !changes.contains("deny"), "{changes}");
    assert_eq!(note(&wanted), None);
}

#[test]
fn drift_is_mended_and_nothing_else_is_touched() {
    let mut observed = wanted(1);
    (observed.max_age, observed.num_replicas) = (Duration::from_secs(5), 3);
    observed.description = Some("somebody's".into());
    let Plan::Update { config, changes, adopts } = decide(Some(&observed), false) else {
        panic!("no update")
    };
    assert_eq!(changes, "max_age 5s -> 604800s, num_replicas 3 -> 1");
    assert!(!adopts);
    assert_eq!(config.description.as_deref(), Some("somebody's"));
    assert_eq!(config.metadata["sse.epoch"], wanted(1).metadata["sse.epoch"], "the epoch survives");
    assert_eq!(config.max_age, Duration::from_secs(604_800));
}

#[test]
fn a_channel_that_was_deleted_and_applied_again_finds_its_stream() {
    let mut observed = wanted(1);
    mark("shop", "0").put(&mut observed);
    let Plan::Update { config, changes, adopts } = decide(Some(&observed), false) else {
        panic!("no update")
    };
    assert!(!adopts && changes.is_empty(), "nobody need hear of it");
    assert!(mark("shop", "1").is_exactly_on(&config));
    assert!(!mark("shop", "1").is_exactly_on(&observed), "not yet this one's to delete");
}

#[test]
fn another_channels_stream_is_never_taken_while_that_channel_lives() {
    let mut observed = wanted(1);
    mark("bank", "7").put(&mut observed);
    for adopt in [false, true] {
        let Plan::Refuse(reason, message) = decide(Some(&observed), adopt) else { panic!("taken") };
        assert_eq!(reason, reasons::NOT_OWNED);
        assert!(message.contains("belongs to the channel bank/orders"), "{message}");
    }
    observed.metadata.insert(mark::NAME.into(), "gone".into());
    assert!(matches!(decide(Some(&observed), false), Plan::Refuse(..)));
    assert!(matches!(decide(Some(&observed), true), Plan::Update { adopts: true, .. }));
    observed.metadata.insert(mark::CLUSTER.into(), "green".into());
    assert!(matches!(decide(Some(&observed), false), Plan::Refuse(..)));
    assert!(matches!(decide(Some(&observed), true), Plan::Update { adopts: true, .. }));
}

#[test]
fn a_foreign_stream_is_taken_only_where_the_channel_says_so_and_keeps_its_subjects() {
    let foreign = Config {
        name: "SSE_shop_orders".into(),
        subjects: vec!["legacy.>".into()],
        ..Config::default()
    };
    let Plan::Refuse(reason, message) = decide(Some(&foreign), false) else { panic!("taken") };
    assert_eq!(reason, reasons::NOT_OWNED);
    assert!(message.contains("adoptionPolicy: Adopt"), "{message}");
    let Plan::Update { config, adopts, .. } = decide(Some(&foreign), true) else { panic!("left") };
    assert!(adopts);
    assert_eq!(config.subjects, ["legacy.>", "sse.shop.orders.all", "sse.shop.orders.t.>"]);
    assert!(!config.metadata.contains_key("sse.epoch"), "cursors of before go on");
    let again = decide(Some(&config), true);
    assert!(matches!(again, Plan::Keep), "{again:?}");
}

#[test]
fn what_jetstream_cannot_change_is_refused_and_not_recreated() {
    let memory = Config { storage: StorageType::Memory, ..wanted(1) };
    let queue = Config { retention: RetentionPolicy::WorkQueue, ..wanted(1) };
    let sealed = Config { sealed: true, ..wanted(1) };
    for observed in [memory, queue, sealed] {
        let Plan::Refuse(reason, message) = decide(Some(&observed), true) else {
            panic!("changed")
        };
        assert_eq!(reason, reasons::IMMUTABLE);
        assert!(message.contains("its data is not touched"), "{message}");
    }
}
