//! Proxies inside of the cluster, with the settings of the Ingress or HTTPRoute that the operator makes: subscribers outside lose nothing while
//! brokers roll behind them, and the delivery probe names each setting that is wrong.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    e2e::{Channel, Cluster, Disturbances, Machine, Proxies, scenario, skipped},
    ledger::Plan,
    proxy::Controller,
};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

/// A probe takes some seconds, and brokers are asked once a minute.
const PROBE_TIMEOUT: Duration = Duration::from_secs(150);
/// The interval of heartbeats where a proxy must not end a stream for its silence: longer than any proxy waits here whose setting is missing.
const SLOW_HEARTBEAT: u64 = 8;
/// The same where the silence is of no interest.
const FAST_HEARTBEAT: u64 = 1;

/// Little: there are many brokers at once.
fn resources(cpu: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": "64Mi"}})
}

/// A channel that is exposed through a proxy of the cluster.
struct Exposed {
    name: &'static str,
    /// What reads its Ingress or HTTPRoute.
    controller: Controller,
    /// Further fields of `exposure.ingress` or `exposure.gateway`.
    content: Value,
    heartbeat: u64,
    brokers: u32,
}

impl Exposed {
    /// The channel, open to everybody.
    fn manifest(&self, host: &str) -> Value {
        let (kind, mut object) = match self.controller {
            Controller::EnvoyGateway => {
                let parents = json!([{"name": "envoy"}]);
                ("gateway", json!({"parentRefs": parents, "hostnames": [host], "tls": true}))
            }
            other => {
                let (class, secret) = (other.name(), "is-with-the-proxy");
                ("ingress", json!({"host": host, "className": class, "tlsSecretName": secret}))
            }
        };
        for (key, value) in self.content.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        json!({
            "apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel", "metadata": {"name": "demo"},
            "spec": {
                "access": {"anonymous": ["Subscribe", "Publish"]},
                "retention": {"maxBytes": 64 << 20},
                "delivery": {"heartbeatSeconds": self.heartbeat},
                "brokers": {"replicas": self.brokers, "drainSeconds": 5, "resources": resources("10m")},
                "exposure": {kind: object, "probe": {"intervalSeconds": 60, "streamSeconds": 7}},
            },
        })
    }

    /// Creates the channel, and the proxy in front of it. Returns the URL of its events there. The brokers probe the delivery.
    async fn create<'a>(
        &self,
        cluster: &'a Cluster,
        proxies: &Proxies<'_>,
    ) -> Result<(Channel<'a>, String)> {
        let channel = Channel::in_new_namespace(cluster, self.name).await?;
        let manifest = self.manifest(&proxies.host(self.name));
        cluster.apply(&channel.namespace, &manifest.to_string()).await?;
        channel.wait("condition=Ready").await?;
        let url = proxies.serve(self.name, self.controller, &channel).await;
        let url = url.with_context(|| self.name.to_owned())?;
        // The proxy was not there when the first probe ran.
        channel.kubectl(&["annotate", "evch/demo", "eventcast.dev/probe=again"]).await?;
        Ok((channel, url))
    }
}

/// Waits until the brokers have found this, and returns what the condition says about it.
async fn found(cluster: &Cluster, channel: &Channel<'_>, reason: &str) -> Result<String> {
    let of = ".status.conditions[?(@.type==\"DeliveryVerified\")]";
    let condition = format!("jsonpath={{{of}.reason}}={reason}");
    cluster.wait(&channel.namespace, "evch/demo", &condition, PROBE_TIMEOUT).await?;
    let message = format!("jsonpath={{{of}.message}}");
    channel.kubectl(&["get", "evch/demo", "-o", &message]).await
}

/// Runs a scenario with the operator installed, and proxies in the cluster.
async fn with_proxies(
    name: &str,
    run: impl AsyncFnOnce(&Cluster, &Proxies<'_>) -> Result<()>,
) -> Result<()> {
    scenario(async |cluster| {
        let Some(machine) = Machine::of_environment() else {
            return skipped(name, "the images of the test cluster are needed");
        };
        let proxies = Proxies::new(cluster, &machine).await?;
        cluster.install().await?;
        run(cluster, &proxies).await?;
        proxies.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn brokers_roll_behind_proxies_that_follow_the_ingress_and_nothing_is_lost() -> Result<()> {
    with_proxies("brokers rolled behind proxies", async |cluster, proxies| {
        let runs = Controller::ALL.map(|controller| roll_behind(cluster, proxies, controller));
        try_join_all(runs).await.map(drop)
    })
    .await
}

async fn roll_behind(
    cluster: &Cluster,
    proxies: &Proxies<'_>,
    controller: Controller,
) -> Result<()> {
    let name = controller.name();
    let (content, heartbeat) = (json!({}), SLOW_HEARTBEAT);
    let exposed = Exposed { name, controller, content, heartbeat, brokers: 2 };
    let (channel, url) = exposed.create(cluster, proxies).await?;
    let plan = Plan { subscribers: 60, publishers: 2, http2: 0.5, ..Disturbances::plan() };
    let run = Disturbances::start_at(vec![url], plan).await?;
    run.disturb(&format!("brokers rolled behind a proxy: {name}"), async || {
        channel.roll(json!({"spec": {"brokers": {"resources": resources("20m")}}})).await
    })
    .await?;
    run.finish().await?;
    let message = found(cluster, &channel, "DeliveryVerified").await?;
    ensure!(message.contains("HTTP/2"), "{name}: {message}");
    channel.leave().await
}

/// What a wrong setting is called.
const REASONS: [&str; 5] = ["Buffered", "Compressed", "IdleTimeout", "TimeLimit", "BodyTooLarge"];

/// A setting that hinders delivery.
struct Wrong {
    exposed: Exposed,
    /// The reason of the condition.
    reason: &'static str,
    /// The proxy that its message names.
    proxy: &'static str,
}

fn wrong_settings() -> [Wrong; 8] {
    use Controller::{EnvoyGateway, HaProxyIngress, HaProxyTechnologies, IngressNginx};
    let wrong = |name, controller, content, reason| {
        let heartbeat = if reason == "IdleTimeout" { SLOW_HEARTBEAT } else { FAST_HEARTBEAT };
        let proxy = match controller {
            IngressNginx => "nginx",
            HaProxyTechnologies | HaProxyIngress => "HAProxy",
            EnvoyGateway => "Envoy",
        };
        let exposed = Exposed { name, controller, content, heartbeat, brokers: 1 };
        Wrong { exposed, reason, proxy }
    };
    let annotated = |name, controller, prefix: &str, key: &str, value: &str, reason| {
        let content = json!({"annotations": {format!("{prefix}/{key}"): value}});
        wrong(name, controller, content, reason)
    };
    let nginx = |name, key, value, reason| {
        annotated(name, IngressNginx, "nginx.ingress.kubernetes.io", key, value, reason)
    };
    let haproxy = |name, key, value, reason| {
        annotated(name, HaProxyTechnologies, "haproxy.org", key, value, reason)
    };
    let other_haproxy = |name, key, value, reason| {
        annotated(name, HaProxyIngress, "haproxy-ingress.github.io", key, value, reason)
    };
    let gzip = "gzip on; gzip_min_length 0; gzip_types text/event-stream;";
    let bodies = "http-request deny deny_status 413 if { req.body_size gt 1048576 }";
    [
        nginx("nginx-buffers", "proxy-buffering", "on", "Buffered"),
        nginx("nginx-compresses", "configuration-snippet", gzip, "Compressed"),
        nginx("nginx-idle", "proxy-read-timeout", "5", "IdleTimeout"),
        nginx("nginx-bodies", "proxy-body-size", "1m", "BodyTooLarge"),
        haproxy("haproxy-idle", "timeout-server", "5s", "IdleTimeout"),
        haproxy("haproxy-bodies", "backend-config-snippet", bodies, "BodyTooLarge"),
        other_haproxy("haproxy-ingress-idle", "timeout-server", "5s", "IdleTimeout"),
        wrong("envoy-limit", EnvoyGateway, json!({"timeouts": "Unset"}), "TimeLimit"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn the_delivery_probe_names_what_is_wrong_with_a_proxy_in_the_cluster() -> Result<()> {
    with_proxies("wrong settings of proxies", async |cluster, proxies| {
        let wrong = wrong_settings();
        let runs = wrong.iter().map(|wrong| is_named(cluster, proxies, wrong));
        try_join_all(runs).await.map(drop)
    })
    .await
}

async fn is_named(cluster: &Cluster, proxies: &Proxies<'_>, wrong: &Wrong) -> Result<()> {
    let Wrong { exposed, reason, proxy } = wrong;
    let name = exposed.name;
    let (channel, _) = exposed.create(cluster, proxies).await?;
    let message = found(cluster, &channel, reason).await.with_context(|| name.to_owned())?;
    let (_, advice) = message.split_once("/events: ").context("no URL")?;
    ensure!(advice.contains(proxy), "{name}: {proxy} is not named: {message}");
    // One fault alone was made, and no other is found.
    for other in REASONS.iter().filter(|other| *other != reason) {
        ensure!(!message.contains(&format!("{other}: ")), "{name}: {message}");
    }
    eprintln!("{name}: {reason}: {message}");
    channel.leave().await
}
