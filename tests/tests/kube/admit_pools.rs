//! Valid and invalid objects for the rules of pools, and of channels in pools.

use anyhow::{Result, ensure};
use eventcast_crds::pool::BrokerPool;
use eventcast_tests::{
    init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::install_crd,
};
use kube::Api;
use serde_json::{Value, json};

use crate::admit::Proof;

fn proof(message: &'static str, good: Value, bad: Value) -> Proof {
    (message, ("a", good), ("a", bad))
}

/// Channels that choose a pool: each field that the pool decides.
pub(crate) fn channels() -> Vec<Proof> {
    let spread =
        json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]);
    let of_pool = [
        json!({"replicas": 2}),
        json!({"autoscaling": {"minReplicas": 1, "maxReplicas": 2, "subscribersPerBroker": 9}}),
        json!({"image": "broker:1"}),
        json!({"resources": {"limits": {"memory": "1Gi"}}}),
        json!({"drainSeconds": 15}),
        json!({"nodeSelector": {"a": "b"}}),
        json!({"tolerations": [{"operator": "Exists"}]}),
        json!({"topologySpreadConstraints": spread}),
        json!({"priorityClassName": "high"}),
        json!({"podTemplate": {"spec": {}}}),
    ];
    let brokers = of_pool.into_iter().map(|fields| {
        let mut with_pool = fields.clone();
        with_pool["pool"] = json!({"name": "shared"});
        proof(
            "with brokers.pool the brokers are those of the BrokerPool",
            json!({"brokers": fields}),
            json!({"brokers": with_pool}),
        )
    });
    let listeners = [
        json!({"tls": {"secretName": "s"}}),
        json!({"proxyProtocol": true, "trustedProxies": ["10.0.0.0/8"]}),
        json!({"trustedProxies": []}),
        json!({"service": {"type": "LoadBalancer"}}),
    ];
    let exposure = listeners.into_iter().map(|exposure| {
        proof(
            "with brokers.pool the listeners are those of the BrokerPool",
            json!({"exposure": exposure}),
            json!({"brokers": {"pool": {"name": "shared", "namespace": "eu"}}, "exposure": exposure}),
        )
    });
    let certificates = proof(
        "access.certificates needs the certificate authorities",
        json!({
            "brokers": {"pool": {"name": "shared"}}, "access": {"certificates": [{}]},
            "exposure": {"ingress": {"host": "a.example"}, "service": {"labels": {"a": "b"}}, "page": true},
        }),
        json!({"access": {"certificates": [{}]}, "exposure": {"ingress": {"host": "a.example"}}}),
    );
    brokers.chain(exposure).chain([certificates]).collect()
}

/// Pools.
pub(crate) fn pools() -> Vec<Proof> {
    let namespaces = |selection: Value| json!({"channels": {"namespaces": selection}});
    let expression = |operator: &str, values: Value| {
        let one = json!({"key": "team", "operator": operator, "values": values});
        namespaces(json!({"from": "Selector", "selector": {"matchExpressions": [one]}}))
    };
    let need_each_other = "selector and from: Selector need each other";
    let labels = json!({"matchLabels": {"team": "a"}});
    vec![
        proof(
            need_each_other,
            namespaces(json!({"from": "Selector", "selector": labels})),
            namespaces(json!({"from": "Selector"})),
        ),
        proof(
            need_each_other,
            namespaces(json!({"from": "All"})),
            namespaces(json!({"from": "All", "selector": labels})),
        ),
        proof(need_each_other, json!({}), namespaces(json!({"selector": labels}))),
        proof(
            "In and NotIn need values",
            expression("In", json!(["a", "b"])),
            expression("NotIn", json!([])),
        ),
        proof(
            "In and NotIn need values",
            expression("DoesNotExist", json!([])),
            expression("Exists", json!(["a"])),
        ),
    ]
}

#[tokio::test]
async fn a_pool_has_defaults_and_bounds_and_no_pool_itself() -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let client = cluster.client().await?;
    let namespace = temp_namespace(&client).await?;
    let head = "apiVersion: eventcast.dev/v1alpha1\nkind: BrokerPool\nmetadata: {name: a}\n";
    let apply = async |yaml: String| {
        cluster.kubectl(&["apply", "-n", &namespace, "-f", "-"], Some(&yaml)).await
    };
    for (spec, words) in [
        ("brokers: {pool: {name: b}}", "unknown field \"spec.brokers.pool\""),
        ("retention: {}", "unknown field \"spec.retention\""),
        ("channels: {max: 0}", "greater than or equal to 1"),
        (
            "channels: {namespaces: {from: Some}}",
            "supported values: \"Same\", \"All\", \"Selector\"",
        ),
        (
            "channels: {namespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: Is}]}}}",
            "supported values: \"In\"",
        ),
    ] {
        let applied = apply(format!("{head}spec: {{{spec}}}")).await?;
        let said = String::from_utf8_lossy(&applied.stderr).into_owned();
        ensure!(!applied.status.success() && said.contains(words), "{spec}: {said}");
    }
    let applied = apply(format!("{head}spec: {{channels: {{namespaces: null}}}}")).await?;
    ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let pool = Api::<BrokerPool>::namespaced(client, &namespace).get("a").await?;
    assert_eq!(pool.spec, BrokerPool::new("a", Default::default()).spec, "all defaults");
    let status = pool.status.unwrap_or_default();
    assert_eq!((status.observed_generation, status.channels), (Some(-1), 0));
    Ok(())
}
