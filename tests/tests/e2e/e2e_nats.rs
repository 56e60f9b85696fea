//! A channel whose log is on three NATS servers, and what a lost server costs its subscribers.

use anyhow::{Context as _, Result};
use eventcast_tests::e2e::{
    Channel, Cluster, Disturbances, Machine, SYSTEM, chart, scenario, skipped,
};
use serde_json::{Value, json};

/// The configuration of each server.
const CONFIGURATION: &str = r#"
server_name: $POD_NAME
listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
max_payload: 9MB
jetstream { store_dir: /data, max_file_store: 2Gi, sync_interval: 2s }
cluster {
  name: nats
  listen: "0.0.0.0:6222"
  routes: ["nats://nats-0.nats:6222", "nats://nats-1.nats:6222", "nats://nats-2.nats:6222"]
}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_lost_server_of_three_loses_nothing() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let bundled = cluster.get(SYSTEM, "statefulset/eventcast-nats").await?;
        let image = &bundled["spec"]["template"]["spec"]["containers"][0]["image"];
        let channel = Channel::in_new_namespace(cluster, "three").await?;
        let namespace = channel.namespace.clone();
        three_servers(cluster, &namespace, image).await?;
        cluster.remove_all().await?;
        let servers = format!("externalNats.servers={{nats://nats.{namespace}.svc:4222}}");
        cluster.upgrade(&chart(), &["--set", "nats.enabled=false", "--set", &servers]).await?;
        let replicated = json!({
            "apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel", "metadata": {"name": "demo"},
            "spec": {
                "access": {"anonymous": ["Subscribe", "Publish"]},
                "retention": {"replicas": 3, "maxBytes": 1 << 28},
                "brokers": {"replicas": 2},
            },
        });
        cluster.apply(&namespace, &replicated.to_string()).await?;
        channel.wait("condition=Ready").await?;
        channel.brokers(2).await?;
        let run = Disturbances::start(&channel, Disturbances::plan()).await?;
        run.disturb("three NATS servers rolled", async || {
            channel.kubectl(&["rollout", "restart", "statefulset/nats"]).await?;
            channel.kubectl(&["rollout", "status", "statefulset/nats", "--timeout=240s"]).await?;
            Ok(())
        })
        .await?;
        let name = "one of three NATS servers killed (SIGKILL)";
        if let Some(machine) = Machine::of_environment() {
            run.disturb(name, async || {
                machine.signal("KILL", &namespace, "nats-0").await?;
                cluster.restarted(&namespace, "nats-0").await
            })
            .await?;
        } else {
            skipped(name, "it needs the machine of the test cluster")?;
        }
        run.finish().await?;
        channel.kubectl(&["delete", "evch/demo", "--timeout=60s"]).await?;
        cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).await?;
        cluster.remove_all().await
    })
    .await
}

/// Starts three servers with volumes, and waits until they are one cluster.
async fn three_servers(cluster: &Cluster, namespace: &str, image: &Value) -> Result<()> {
    let labels = json!({"app": "nats"});
    let container = json!({
        "name": "nats", "image": image, "args": ["--config", "/etc/nats/nats.conf"],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": "nats", "containerPort": 4222}, {"name": "monitor", "containerPort": 8222}],
        // a server that has not caught up is not ready, so that the next one is not stopped before
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "monitor"}, "periodSeconds": 2},
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "configuration", "mountPath": "/etc/nats"}, {"name": "data", "mountPath": "/data"}],
    });
    let pod = json!({
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "configuration", "configMap": {"name": "nats"}}],
    });
    let volume = json!({
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nats"}, "data": {"nats.conf": CONFIGURATION}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "nats"}, "spec": {
            "clusterIP": "None", "publishNotReadyAddresses": true, "selector": labels,
            "ports": [{"name": "nats", "port": 4222}, {"name": "routes", "port": 6222}],
        }},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "nats"}, "spec": {
            "replicas": 3, "serviceName": "nats", "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            "volumeClaimTemplates": [volume],
        }},
    ]});
    cluster.apply(namespace, &objects.to_string()).await?;
    let status = ["-n", namespace, "rollout", "status", "statefulset/nats", "--timeout=120s"];
    cluster.kubectl(&status).await.context("three NATS servers")?;
    Ok(())
}
