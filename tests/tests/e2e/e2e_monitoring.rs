//! A Prometheus that scrapes what the PodMonitors of the chart and of the operator say: every panel of the dashboards and every recording rule has
//! data.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_tests::{
    chart::{monitoring, slo},
    e2e::{Channel, Cluster, Disturbances, Prometheus, SYSTEM, WAIT_TIMEOUT, chart, scenario},
    eventually,
};
use serde_json::{Value, json};

use crate::e2e_pools::{channel_in_pool, create_pool, delete_pool};

/// Rules are evaluated every minute, over rates of five.
const DATA_TIMEOUT: Duration = Duration::from_secs(240);

/// Metrics of what there is not here: TLS, and problems. Queries over them have no data.
const WITHOUT_DATA: [&str; 4] = [
    "eventcast_tls_handshakes_total",
    "eventcast_certificate_expiry_seconds",
    "eventcast_access_problem",
    "eventcast_delivery_problem",
];

/// The definition of PodMonitors, as small as it can be.
fn pod_monitors() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "podmonitors.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"kind": "PodMonitor", "plural": "podmonitors", "singular": "podmonitor", "listKind": "PodMonitorList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

/// The queries of all dashboards with everything selected, and the names of the recording rules.
fn queries() -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for (name, dashboard) in monitoring::dashboards()? {
        for panel in monitoring::panels(&dashboard) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap_or_default();
                let mut query = query.replace("$__rate_interval", "1m").replace("$__range", "5m");
                for variable in ["cluster", "namespace", "job", "channel", "instance"] {
                    query = query.replace(&format!("${variable}"), ".*");
                }
                let title = panel["title"].as_str().unwrap_or_default();
                all.push((format!("{name}: {title}"), query));
            }
        }
    }
    all.extend(slo::records()?.into_iter().map(|rule| ("recording rule".to_owned(), rule.record)));
    Ok(all)
}

async fn prepare(cluster: &Cluster) -> Result<()> {
    cluster.apply("default", &pod_monitors().to_string()).await?;
    let settings = [
        "--set=metrics.podMonitor.enabled=true",
        "--set=metrics.podMonitor.interval=5s",
        "--set=brokers.podMonitor.interval=5s",
    ];
    cluster.upgrade(&chart(), &settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn every_panel_has_data() -> Result<()> {
    scenario(async |cluster| {
        prepare(cluster).await?;
        let channel = Channel::create(cluster, "monitoring").await?;
        channel
            .patch(json!({"spec": {
                "brokers": {"replicas": 2, "drainSeconds": 5}, "retention": {"maxEvents": 1_000_000},
            }}))
            .await?;
        channel.settled(2).await?;
        create_pool(cluster, &channel.namespace).await?;
        for name in ["pooled-1", "pooled-2"] {
            cluster.apply(&channel.namespace, &channel_in_pool(name).to_string()).await?;
        }
        // Prometheus gets the pods that there are when it starts.
        for name in ["evch/pooled-1", "evch/pooled-2"] {
            cluster.wait(&channel.namespace, name, "condition=Ready", WAIT_TIMEOUT).await?;
        }
        // The operator looks for this API once a minute.
        eventually("the brokers have a PodMonitor", WAIT_TIMEOUT, || async {
            ensure!(cluster.has(&channel.namespace, "podmonitor/demo-broker").await?, "none");
            ensure!(cluster.has(&channel.namespace, "podmonitor/shared-pool").await?, "none");
            ensure!(cluster.has(SYSTEM, "podmonitor/eventcast-operator").await?, "none");
            anyhow::Ok(())
        })
        .await?;
        let prometheus = Prometheus::start(cluster).await?;
        let run = Disturbances::start(&channel, Disturbances::plan()).await?;
        eventually("every target is scraped", DATA_TIMEOUT, || async {
            let failed = prometheus.failed_targets().await?;
            ensure!(failed.is_empty(), "{failed:#?}");
            anyhow::Ok(())
        })
        .await?;
        let queries = queries()?;
        ensure!(queries.len() > 100, "{}", queries.len());
        eventually("every panel and rule has data", DATA_TIMEOUT, || async {
            let mut empty = Vec::new();
            for (place, query) in &queries {
                let is_expected = WITHOUT_DATA.iter().any(|name| query.contains(name));
                if !is_expected && prometheus.series(query).await? == 0 {
                    empty.push(format!("{place}: {query}"));
                }
            }
            ensure!(empty.is_empty(), "without data: {empty:#?}");
            anyhow::Ok(())
        })
        .await?;
        run.finish().await?;
        delete_pool(cluster, &channel.namespace).await?;
        cluster.install().await?;
        channel.leave().await
    })
    .await
}
