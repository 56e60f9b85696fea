//! What the API server accepts and rejects of an EventChannel and of a BrokerPool: every validation rule with a valid and an invalid object, and its
//! message.

use anyhow::{Result, ensure};
use eventcast_crds::{channel::EventChannel, crd::Crd, pool::BrokerPool, rules::SHARED};
use eventcast_tests::{
    init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::install_crd,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::DynamicObject,
    discovery::ApiResource,
};
use serde_json::{Value, json};

use crate::{admit_access, admit_pools};

/// Of a channel in YAML.
const MANIFEST_HEAD: &str =
    "apiVersion: eventcast.dev/v1alpha1\nkind: EventChannel\nmetadata: {name: a}";

/// A name and a spec.
pub(crate) type Named = (&'static str, Value);

/// For a rule: a part of its message, a name and spec that keep it, and ones that break it.
pub(crate) type Proof = (&'static str, Named, Named);

/// For a rule about changes: a part of its message, what was, a change that keeps the rule, and one that breaks it.
type ChangeProof = (&'static str, Value, Value, Value);

fn tables() -> Vec<Proof> {
    let named = |good: &'static str, bad: &'static str| ((good, json!({})), (bad, json!({})));
    let spec = |good: Value, bad: Value| (("a", good), ("a", bad));
    let of = |message, (good, bad)| (message, good, bad);
    vec![
        of(
            "at most 52 characters",
            named(
                "a123456789-123456789-123456789-123456789-123456789-1",
                "a123456789-123456789-123456789-123456789-123456789-12",
            ),
        ),
        of("without dots", named("a-1", "a.b")),
        // a Service could not have the name
        of("begins with a letter", named("a1", "1a")),
        of(
            "must be 1, 3 or 5",
            spec(json!({"retention": {"replicas": 3}}), json!({"retention": {"replicas": 2}})),
        ),
        of(
            "must not be longer than retention.maxAgeSeconds",
            spec(
                json!({"retention": {"maxAgeSeconds": 60, "duplicateWindowSeconds": 60}}),
                json!({"retention": {"maxAgeSeconds": 60, "duplicateWindowSeconds": 61}}),
            ),
        ),
        of(
            "stream.name must be visible ASCII",
            spec(json!({"stream": {"name": "ORDERS-1"}}), json!({"stream": {"name": "a\\b"}})),
        ),
        of(
            "stream.subjectPrefix must be tokens",
            spec(
                json!({"stream": {"subjectPrefix": "shop.orders_1"}}),
                json!({"stream": {"subjectPrefix": "shop..orders"}}),
            ),
        ),
        of(
            "delivery.from must be",
            spec(
                json!({"delivery": {"from": "last:1000"}}),
                json!({"delivery": {"from": "last:1001"}}),
            ),
        ),
        of(
            "publishing.types must be",
            spec(
                json!({"publishing": {"types": ["order.paid", "order.>"]}}),
                json!({"publishing": {"types": ["order."]}}),
            ),
        ),
        of(
            "would let every web page act",
            spec(
                json!({"access": {"allowedOrigins": ["*"]}}),
                json!({"access": {"allowedOrigins": ["*"], "allowCredentials": true}}),
            ),
        ),
        of(
            "must be scheme://host",
            spec(
                json!({"access": {"allowedOrigins": ["https://a.example:8443", "https://[::1]:80", "https://*.a.example:8443"]}}),
                json!({"access": {"allowedOrigins": ["https://a.example/"]}}),
            ),
        ),
        of(
            "must be scheme://host",
            spec(
                json!({"access": {"allowedOrigins": ["https://*.example.com", "http://a_b"]}}),
                json!({"access": {"allowedOrigins": ["https://*.com"]}}),
            ),
        ),
        of(
            "access.allowedHeaders must be names",
            spec(
                json!({"access": {"allowedHeaders": ["X-Tenant", "b3"]}}),
                json!({"access": {"allowedHeaders": ["X Tenant"]}}),
            ),
        ),
        of(
            "exactly one of jwksUrl, keySecret and jwks",
            spec(
                json!({"access": {"tokens": [{"issuer": "i", "audience": "a", "jwksUrl": "https://i/keys"}]}}),
                json!({"access": {"tokens": [{"issuer": "i", "audience": "a"}]}}),
            ),
        ),
        of(
            "leave brokers.replicas unset",
            spec(
                json!({"brokers": {"autoscaling": {"minReplicas": 1, "maxReplicas": 2, "cpuPercent": 50}}}),
                json!({"brokers": {"replicas": 2, "autoscaling": {"minReplicas": 1, "maxReplicas": 2, "cpuPercent": 50}}}),
            ),
        ),
        of(
            "maxReplicas must be at least",
            spec(
                json!({"brokers": {"autoscaling": {"minReplicas": 2, "maxReplicas": 2, "cpuPercent": 50}}}),
                json!({"brokers": {"autoscaling": {"minReplicas": 3, "maxReplicas": 2, "cpuPercent": 50}}}),
            ),
        ),
        of(
            "needs subscribersPerBroker",
            spec(
                json!({"brokers": {"autoscaling": {"minReplicas": 1, "maxReplicas": 2, "subscribersPerBroker": 9}}}),
                json!({"brokers": {"autoscaling": {"minReplicas": 1, "maxReplicas": 2}}}),
            ),
        ),
        of(
            "set brokers.resources.requests.cpu",
            spec(
                json!({"brokers": {"resources": {"requests": {"cpu": 1}}, "autoscaling": {"minReplicas": 1, "maxReplicas": 2, "cpuPercent": 50}}}),
                json!({"brokers": {"resources": {"limits": {"memory": "1Gi"}}, "autoscaling": {"minReplicas": 1, "maxReplicas": 2, "cpuPercent": 50}}}),
            ),
        ),
        of(
            "externalTrafficPolicy is about traffic from outside",
            spec(
                json!({"exposure": {"service": {"type": "NodePort", "externalTrafficPolicy": "Local"}}}),
                json!({"exposure": {"service": {"externalTrafficPolicy": "Local"}}}),
            ),
        ),
        of(
            "loadBalancerSourceRanges need type LoadBalancer",
            spec(
                json!({"exposure": {"service": {"type": "LoadBalancer", "loadBalancerClass": "a/b", "loadBalancerSourceRanges": ["10.0.0.0/8"]}}}),
                json!({"exposure": {"service": {"type": "NodePort", "loadBalancerSourceRanges": ["10.0.0.0/8"]}}}),
            ),
        ),
        of(
            "ipFamilies must have each family once",
            spec(
                json!({"exposure": {"service": {"ipFamilies": ["IPv6", "IPv4"]}}}),
                json!({"exposure": {"service": {"ipFamilies": ["IPv6", "IPv6"]}}}),
            ),
        ),
        of(
            "needs exposure.trustedProxies",
            spec(
                json!({"exposure": {"proxyProtocol": true, "trustedProxies": ["10.0.0.0/8"]}}),
                json!({"exposure": {"proxyProtocol": true, "trustedProxies": []}}),
            ),
        ),
        of(
            "must be a DNS name",
            spec(
                json!({"exposure": {"ingress": {"host": "*.a.example"}}}),
                json!({"exposure": {"ingress": {"host": "https://a.example"}}}),
            ),
        ),
    ]
}

fn changes() -> Vec<ChangeProof> {
    vec![
        (
            "retention.storage cannot be changed",
            json!({}),
            json!({"retention": {"maxEvents": 5}}),
            json!({"retention": {"storage": "Memory"}}),
        ),
        (
            "stream.name cannot be changed",
            json!({"stream": {"name": "A"}}),
            json!({"stream": {"name": "A", "adoptionPolicy": "Adopt"}}),
            json!({"stream": {"name": "B"}}),
        ),
        (
            "loadBalancerClass cannot be changed",
            json!({"exposure": {"service": {"type": "LoadBalancer", "loadBalancerClass": "a/b"}}}),
            json!({"exposure": {"service": {"type": "ClusterIP", "loadBalancerClass": null}}}),
            json!({"exposure": {"service": {"loadBalancerClass": "a/c"}}}),
        ),
        (
            "stream.subjectPrefix cannot be changed",
            json!({"stream": {"subjectPrefix": "a"}}),
            json!({"stream": {"subjectPrefix": "a", "adoptionPolicy": "Adopt"}}),
            json!({"stream": {"subjectPrefix": "b"}}),
        ),
    ]
}

#[tokio::test]
async fn every_rule_accepts_valid_and_rejects_invalid_objects_with_its_message() -> Result<()> {
    let tables = [tables(), admit_access::tables(), admit_pools::channels()].concat();
    prove(Crd::EventChannel, tables, changes()).await
}

#[tokio::test]
async fn every_rule_of_a_pool_accepts_valid_and_rejects_invalid_objects_with_its_message()
-> Result<()> {
    let is_shared = |message: &str| SHARED.iter().any(|rule| rule.message.contains(message));
    let mut tables = [tables(), admit_access::tables()].concat();
    tables.retain(|(message, ..)| is_shared(message));
    let mut changes = changes();
    changes.retain(|(message, ..)| is_shared(message));
    prove(Crd::BrokerPool, [tables, admit_pools::pools()].concat(), changes).await
}

/// Creates and changes objects of a kind, and demands that each of its rules has rejected one.
async fn prove(crd: Crd, tables: Vec<Proof>, changes: Vec<ChangeProof>) -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let client = cluster.client().await?;
    let resource = match crd {
        Crd::EventChannel => ApiResource::erase::<EventChannel>(&()),
        Crd::BrokerPool => ApiResource::erase::<BrokerPool>(&()),
    };
    let namespace = temp_namespace(&client).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
    let object = |name: &str, spec: &Value| -> Result<DynamicObject> {
        Ok(serde_json::from_value(json!({
            "apiVersion": "eventcast.dev/v1alpha1", "kind": crd.kind(), "metadata": {"name": name},
            "spec": spec,
        }))?)
    };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let mut proved = Vec::new();
    for (message, (good_name, good), (bad_name, bad)) in tables {
        api.create(&dry, &object(good_name, &good)?)
            .await
            .map_err(|e| anyhow::anyhow!("{message}: {good} is refused: {e}"))?;
        let refused = api.create(&dry, &object(bad_name, &bad)?).await.map_err(|e| e.to_string());
        let Err(said) = refused else { anyhow::bail!("{bad} is taken, though: {message}") };
        ensure!(said.contains(message), "{bad}: {said}");
        proved.push(message);
    }
    for (i, (message, before, good, bad)) in changes.into_iter().enumerate() {
        let name = format!("change-{i}");
        api.create(&PostParams::default(), &object(&name, &before)?).await?;
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let change = |spec: Value| {
            let (api, name, params) = (api.clone(), name.clone(), params.clone());
            async move { api.patch(&name, &params, &Patch::Merge(json!({"spec": spec}))).await }
        };
        change(good).await?;
        let Err(error) = change(bad.clone()).await else {
            anyhow::bail!("{bad} is taken, though: {message}")
        };
        ensure!(error.to_string().contains(message), "{bad}: {error}");
        proved.push(message);
    }
    for rule in crd.rules() {
        ensure!(
            proved.iter().any(|p| rule.message.contains(p)),
            "no object proves: {}",
            rule.message
        );
    }
    Ok(())
}

#[tokio::test]
async fn bounds_and_types_are_checked_and_unknown_fields_are_refused() -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let namespace = temp_namespace(&cluster.client().await?).await?;
    for (spec, words) in [
        ("delivery: {heartbeatSeconds: 0}", "greater than or equal to 1"),
        ("delivery: {heartbeatSeconds: soon}", "must be of type integer"),
        ("retention: {maxBytes: 1}", "greater than or equal to 65536"),
        ("retention: {storage: Paper}", "supported values: \"File\", \"Memory\""),
        ("access: {anonymous: [Subscribe, Publish, Subscribe]}", "must have at most 2 items"),
        ("brokers: {replicas: -1}", "greater than or equal to 0"),
        ("brokers: {resources: {limits: {memory: much}}}", "should match"),
        ("deletionPolicy: Maybe", "supported values"),
        ("colour: red", "unknown field \"spec.colour\""),
        ("delivery: {heartBeatSeconds: 5}", "unknown field \"spec.delivery.heartBeatSeconds\""),
    ] {
        let yaml = format!("{MANIFEST_HEAD}\nspec: {{{spec}}}");
        let applied = cluster.kubectl(&["apply", "-n", &namespace, "-f", "-"], Some(&yaml)).await?;
        let said = String::from_utf8_lossy(&applied.stderr).into_owned();
        ensure!(
            !applied.status.success() && said.to_lowercase().contains(&words.to_lowercase()),
            "{spec}: {said}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn defaults_are_written_into_the_object_and_explained() -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let client = cluster.client().await?;
    let namespace = temp_namespace(&client).await?;
    // as a template renders empty values
    let yaml = format!(
        "{MANIFEST_HEAD}\nspec: {{brokers: {{replicas: null, autoscaling: null}}, delivery: null}}"
    );
    let applied = cluster.kubectl(&["apply", "-n", &namespace, "-f", "-"], Some(&yaml)).await?;
    ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let api: Api<EventChannel> = Api::namespaced(client, &namespace);
    let channel = api.get("a").await?;
    assert_eq!(
        channel.spec,
        EventChannel::new("a", Default::default()).spec,
        "all defaults, from both sides"
    );
    assert!(channel.uid().is_some());
    for (path, words) in [
        ("evch.spec.delivery.heartbeatSeconds", "Default: 15"),
        ("evch.spec.retention", "maxAgeSeconds"),
        ("evch.spec.brokers.podTemplate", "PodTemplateSpec"),
        ("evch.spec.deletionPolicy", "Default: Retain"),
    ] {
        let said = cluster.kubectl(&["explain", path], None).await?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        // kubectl wraps lines
        let unwrapped = said.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(unwrapped.contains(words), "{path}: {words} not in\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_examples_are_taken() -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let namespace = temp_namespace(&cluster.client().await?).await?;
    let folder = eventcast_tests::repository().join("charts/eventcast/examples");
    let mut names: Vec<_> =
        std::fs::read_dir(&folder)?.filter_map(|e| Some(e.ok()?.file_name())).collect();
    names.sort();
    assert_eq!(
        names,
        ["minimal.yaml", "notifications.yaml", "pool.yaml", "production.yaml", "public-feed.yaml"]
    );
    for name in names {
        let file = folder.join(name).display().to_string();
        let applied = cluster.kubectl(&["apply", "-n", &namespace, "-f", &file], None).await?;
        ensure!(applied.status.success(), "{file}: {}", String::from_utf8_lossy(&applied.stderr));
    }
    Ok(())
}
