//! What the brokers of all channels have in common: the file that the chart renders, as the operator reads it.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    chart, eventually, init_tracing,
    kube::ApiServer,
    namespace::{TestNamespace, WAIT_TIMEOUT},
    process::{self, Process},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
    networking::v1::NetworkPolicy,
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// The file that the chart renders with all values set.
fn everything() -> Result<String> {
    let values = chart::folder().join("../../tests/chart/values/everything.yaml");
    let values = values.to_str().context("a path that is not UTF-8")?;
    let manifests = chart::render(&["--values", values])?;
    let map = chart::find(&manifests, "ConfigMap/events-broker-defaults")?;
    Ok(chart::text(map, "/data/defaults.yaml").to_owned())
}

#[tokio::test]
async fn objects_have_what_the_chart_sets_for_all_brokers_and_what_the_channel_passes_on()
-> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-defaults-")?;
    let file = folder.path().join("defaults.yaml");
    fs::write(&file, everything()?)?;
    let ns = TestNamespace::start_with(&[&format!("--broker-defaults={}", file.display())]).await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    let before = ns.object::<Deployment>("orders", |_| true).await?;
    let now = serde_json::to_value(&before)?;
    let pod = &now["spec"]["template"];
    assert_eq!(now["metadata"]["labels"]["team"], "platform");
    assert_eq!(pod["metadata"]["labels"]["team"], "platform");
    assert_eq!(pod["metadata"]["annotations"]["example.com/owner"], "platform");
    assert!(pod["metadata"]["annotations"].get("prometheus.io/scrape").is_none(), "{pod:#}");
    let env = pod["spec"]["containers"][0]["env"].as_array().context("no variables")?;
    for (name, value) in [("TZ", "UTC"), ("EVENTCAST_LOG_FORMAT", "text")] {
        assert!(env.contains(&json!({"name": name, "value": value})), "{name}: {env:?}");
    }
    let map = ns.object::<ConfigMap>("orders", |_| true).await?;
    let config = map.data.and_then(|mut data| data.remove("broker.yaml")).context("no file")?;
    assert!(config.contains("connections: 20000"), "{config}");
    let policy = ns.object::<NetworkPolicy>("orders", |_| true).await?.spec.context("no spec")?;
    let (ingress, egress) = (policy.ingress.unwrap_or_default(), policy.egress.unwrap_or_default());
    assert_eq!((ingress.len(), egress.len()), (3, 3), "with those of the chart");
    let peers = ingress[1].from.as_ref().context("metrics are open to all")?;
    assert_eq!(peers.len(), 2, "the operator, and those of the values: {peers:?}");

    // What the channel passes on reaches every object; what is not selected does not.
    let labels = json!({"metadata": {"labels": {"cost.example.com/centre": "7", "other": "x"},
        "annotations": {"linkerd.io/inject": "enabled", "argocd.argoproj.io/tracking-id": "y"}}});
    let channels = ns.api::<EventChannel>();
    channels.patch("orders", &PatchParams::default(), &Patch::Merge(&labels)).await?;
    let centre = |labels: Option<&std::collections::BTreeMap<String, String>>| {
        labels.and_then(|l| l.get("cost.example.com/centre")).is_some_and(|value| value == "7")
    };
    let service = ns.object::<Service>("orders", |s| centre(s.metadata.labels.as_ref())).await?;
    let annotations = service.metadata.annotations.unwrap_or_default();
    assert_eq!(annotations.get("linkerd.io/inject").map(String::as_str), Some("enabled"));
    assert_eq!(annotations.len(), 2, "{annotations:?}");
    ensure!(!service.metadata.labels.unwrap_or_default().contains_key("other"));
    ns.object::<Deployment>("orders", |d| {
        let template = d.spec.as_ref().and_then(|s| s.template.metadata.as_ref());
        centre(template.and_then(|m| m.labels.as_ref()))
    })
    .await?;
    // And a label that somebody removes comes back.
    let services = ns.api::<Service>();
    let gone = json!({"metadata": {"labels": {"team": null}}});
    services.patch("orders-broker", &PatchParams::default(), &Patch::Merge(&gone)).await?;
    eventually("the label is back", WAIT_TIMEOUT, || async {
        let labels = services.get("orders-broker").await?.metadata.labels.unwrap_or_default();
        ensure!(labels.get("team").is_some_and(|team| team == "platform"), "{labels:?}");
        anyhow::Ok(())
    })
    .await
}

#[tokio::test]
async fn an_unusable_file_ends_the_operator_and_every_mistake_is_named() -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    let folder = process::folder("eventcast-defaults-")?;
    let file = folder.path().join("defaults.yaml");
    let path = file.display().to_string();
    let mistakes = "{tags: {a: b}, podMonitor: {interval: soon}}";
    for (text, expected) in [
        (None, vec!["failed to read", "No such file"]),
        (
            Some(mistakes),
            vec!["tags: there is no such setting", "podMonitor.interval: soon is no duration"],
        ),
    ] {
        if let Some(text) = text {
            fs::write(&file, text)?;
        }
        let arguments = [
            format!("KUBECONFIG={}", cluster.admin_kubeconfig().display()),
            process::built("eventcast-operator").display().to_string(),
            "run".into(),
            "--admin=127.0.0.1:0".into(),
            "--nats-servers=nats://127.0.0.1:4".into(),
            "--broker-image=none".into(),
            format!("--broker-defaults={path}"),
        ];
        let mut operator = Process::spawn("operator", Path::new("env"), &arguments, folder.path())?;
        let status = operator.wait_exit(Duration::from_secs(40)).await?;
        let log = operator.stderr();
        assert_eq!(status.code(), Some(64), "{log}");
        let last = log.lines().last().context("no word")?;
        for expected in expected.iter().chain([&&*path]) {
            assert!(last.contains(expected), "{expected}: {last}");
        }
    }
    Ok(())
}
