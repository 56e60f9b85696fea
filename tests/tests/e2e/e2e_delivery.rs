//! The delivery probe in a cluster: brokers reach their own channel by its URL, also where it takes no anonymous client.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_tests::e2e::{Channel, scenario};
use serde_json::json;

/// A probe takes some seconds, and brokers are asked once a minute.
const PROBE_TIMEOUT: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn brokers_verify_that_events_arrive_through_the_url_of_clients() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::in_new_namespace(cluster, "delivery").await?;
        let manifest = json!({
            "apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel", "metadata": {"name": "demo"},
            "spec": {
                "retention": {"maxBytes": 1 << 20},
                "delivery": {"heartbeatSeconds": 2},
                "brokers": {"replicas": 2},
                "exposure": {"probe": {"enabled": true, "intervalSeconds": 60, "streamSeconds": 3}},
            },
        });
        let namespace = &channel.namespace;
        cluster.apply(namespace, &manifest.to_string()).await?;
        channel.wait("condition=Ready").await?;
        cluster
            .wait(namespace, "evch/demo", "condition=DeliveryVerified", PROBE_TIMEOUT)
            .await?;
        let status = &channel.get("evch/demo").await?["status"];
        let delivery = &status["delivery"];
        ensure!(delivery["url"] == status["url"], "{delivery}");
        ensure!(delivery["delayMilliseconds"].is_u64(), "{delivery}");
        ensure!(status["subscribers"].as_u64().unwrap_or(0) == 0, "probes are counted: {status}");
        let wide = channel.kubectl(&["get", "evch", "-o", "wide"]).await?;
        ensure!(wide.contains("DeliveryVerified"), "{wide}");
        channel.leave().await
    })
    .await
}
