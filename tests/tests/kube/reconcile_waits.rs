//! Errors that only a person can fix are reported once and wait; errors that may pass are retried; conditions that are fine are
//! reported too.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::Config as StreamConfig;
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    eventually, init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::{TestNamespace, WAIT_TIMEOUT},
    nats::NatsServer,
    operator::{Operator, Options},
    process,
};
use k8s_openapi::api::{core::v1::ConfigMap, events::v1::Event};
use kube::{Api, api::ListParams};
use serde_json::json;

/// Reconciles that failed for `reason`.
async fn failures(ns: &TestNamespace, reason: &str) -> Result<f64> {
    ns.operator.metric("eventcast_operator_failures_total", &[("reason", reason)]).await
}

#[tokio::test]
async fn errors_that_need_a_person_are_reported_once_and_wait() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let jetstream = ns.nats.jetstream().await?;
    let stream = |name: &str, subject: String| StreamConfig {
        name: name.into(),
        subjects: vec![subject],
        ..StreamConfig::default()
    };
    jetstream.create_stream(stream("LEGACY", "legacy.>".into())).await?;
    jetstream.create_stream(stream("OTHER", "other.>".into())).await?;
    let memory = StreamConfig {
        storage: async_nats::jetstream::stream::StorageType::Memory,
        ..stream("VOLATILE", "volatile.>".into())
    };
    jetstream.create_stream(memory).await?;
    let theirs =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "taken-broker"}});
    ns.api::<ConfigMap>().create(&Default::default(), &serde_json::from_value(theirs)?).await?;

    let lasting = [
        ("legacy", json!({"stream": {"name": "LEGACY"}}), "StreamReady", "NotOwned"),
        (
            "overlaps",
            json!({"stream": {"subjectPrefix": "other"}}),
            "StreamReady",
            "SubjectConflict",
        ),
        (
            "volatile",
            json!({"stream": {"name": "VOLATILE", "adoptionPolicy": "Adopt"}}),
            "StreamReady",
            "ImmutableDrift",
        ),
        ("taken", json!({}), "Accepted", "NameConflict"),
        (
            "invalid",
            json!({"brokers": {"resources": {"limits": {"memory": "1Mi"}}}}),
            "Accepted",
            "InvalidSpec",
        ),
        (
            "refused",
            json!({"brokers": {"podTemplate": {"spec": {"containers": [
                {"name": "broker", "volumeMounts": [{"name": "nowhere", "mountPath": "/x"}]}]}}}}),
            "Accepted",
            "ApplyFailed",
        ),
    ];
    for (name, spec, condition, reason) in &lasting {
        ns.apply(name, spec.clone()).await?;
        ns.condition(name, condition, "False", reason).await?;
    }
    // Reconciles that the first writes caused are over when the counters stand still.
    let counts = || async {
        let mut counts = Vec::new();
        for (_, _, _, reason) in &lasting {
            counts.push(failures(&ns, reason).await?);
        }
        anyhow::Ok(counts)
    };
    let passing = || failures(&ns, "TooFewServers");
    ns.apply("many", json!({"retention": {"replicas": 3}})).await?;
    eventually("the first tries", WAIT_TIMEOUT, || async {
        ensure!(passing().await? >= 2.0, "not yet");
        anyhow::Ok(())
    })
    .await?;
    let (before, tried) = (counts().await?, passing().await?);
    // What may pass is the clock: it is tried again after 1, 2, 4, 8 s.
    eventually("more tries", WAIT_TIMEOUT, || async {
        ensure!(passing().await? >= tried + 2.0, "not yet");
        anyhow::Ok(())
    })
    .await?;
    assert_eq!(counts().await?, before, "nothing has changed, so nobody looked again");
    let log = ns.operator.log();
    for (name, _, _, reason) in &lasting {
        let key = format!("{}/{name}", ns.name);
        let told = log.lines().filter(|l| l.contains(&key) && l.contains("WARN")).count();
        assert!((1..=2).contains(&told), "{name} ({reason}) is told {told} times");
    }
    let events: Api<Event> = ns.api();
    for event in events.list(&ListParams::default()).await?.items {
        let reason = event.reason.unwrap_or_default();
        let again = lasting.iter().any(|l| l.3 == reason) && event.series.is_some();
        assert!(!again, "{reason} is told again");
    }
    Ok(())
}

#[tokio::test]
async fn a_blocked_deletion_is_reported_once() -> Result<()> {
    init_tracing();
    let mut ns = TestNamespace::start().await?;
    ns.apply("orders", json!({"deletionPolicy": "Delete"})).await?;
    ns.settled("orders").await?;
    ns.nats.kill9()?;
    ns.delete("orders").await?;
    ns.condition("orders", "Ready", "False", "StreamNotDeleted").await?;
    let tried = failures(&ns, "NatsUnreachable").await?;
    eventually("more tries", WAIT_TIMEOUT, || async {
        ensure!(failures(&ns, "NatsUnreachable").await? >= tried + 3.0, "not yet");
        anyhow::Ok(())
    })
    .await?;
    let events: Api<Event> = ns.api();
    let blocked = events.list(&ListParams::default()).await?.items;
    let blocked: Vec<_> =
        blocked.into_iter().filter(|e| e.reason.as_deref() == Some("FinalizerBlocked")).collect();
    assert_eq!(blocked.len(), 1);
    assert!(blocked[0].series.is_none(), "{:?}", blocked[0].series);
    ns.nats.restart().await?;
    eventually("the channel is gone", WAIT_TIMEOUT, || async {
        ensure!(ns.api::<EventChannel>().get_opt("orders").await?.is_none(), "it is there");
        anyhow::Ok(())
    })
    .await
}

#[tokio::test]
async fn events_that_nats_rejects_and_streams_that_erase_nothing_are_reported() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("large", json!({"publishing": {"maxEventBytes": 2 << 20}})).await?;
    let told = ns.condition("large", "StreamReady", "True", "MaxPayloadTooSmall").await?;
    assert!(told.message.contains("set max_payload of nats-server to 2113536"), "{}", told.message);
    let mut check = tokio::process::Command::new(process::built("eventcast-operator"));
    check.env("KUBECONFIG", ns.cluster.admin_kubeconfig()).arg("check").args([
        format!("--nats-servers={}", ns.nats.url()),
        format!("--watch-namespaces={}", ns.name),
        format!("--lease-namespace={}", ns.name),
    ]);
    let checked = check.output().await?;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    let key = format!("channel {}/large: publishing.maxEventBytes", ns.name);
    ensure!(checked.status.code() == Some(1) && said.contains(&key), "{said}");
    ns.apply("large", json!({"publishing": {"maxEventBytes": 1 << 19}})).await?;
    ns.settled("large").await?;

    let kept = StreamConfig {
        name: "KEPT".into(),
        subjects: vec!["kept.>".into()],
        deny_delete: true,
        ..StreamConfig::default()
    };
    ns.nats.jetstream().await?.create_stream(kept).await?;
    ns.apply("kept", json!({"stream": {"name": "KEPT", "adoptionPolicy": "Adopt"}})).await?;
    let told = ns.condition("kept", "StreamReady", "True", "StreamReady").await?;
    assert!(told.message.contains("single events cannot be erased"), "{}", told.message);
    Ok(())
}

#[tokio::test]
async fn optional_apis_are_found_while_the_definition_is_missing() -> Result<()> {
    init_tracing();
    let server = ApiServer::start().await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    let nats = NatsServer::start().await?;
    let operator =
        Operator::start(Options::of(server.admin_kubeconfig(), &nats, &namespace)).await?;
    let said = |words: &'static str| {
        let operator = &operator;
        eventually(words, Duration::from_secs(60), move || async move {
            operator.log().contains(words).then_some(()).context("not yet")
        })
    };
    said("cannot compare the CRD").await?;
    let monitors = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "podmonitors.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"kind": "PodMonitor", "plural": "podmonitors"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    let text = monitors.to_string();
    let applied = server.kubectl(&["apply", "--server-side", "-f", "-"], Some(&text)).await?;
    ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    said("the optional APIs of the cluster changed").await
}
