//! Objects against what Kubernetes knows, and against goldens: an operator of another version must build the same to the byte, or
//! every broker rolls with it.

use std::{collections::BTreeMap, fs, path::Path};

use eventcast_crds::{channel::EventChannel, config::Nats};
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        networking::v1::{Ingress, NetworkPolicy},
        policy::v1::PodDisruptionBudget,
    },
};
use serde::de::DeserializeOwned;

use super::*;

/// The channel `shop/orders` with the rest of its YAML.
pub(crate) fn channel(rest: &str) -> (Channel, Settings) {
    let settings = Settings {
        broker_image: "registry.example/eventcast-broker:1.2.3".into(),
        pull_policy: "IfNotPresent".into(),
        pull_secrets: Vec::new(),
        nats: Nats { servers: vec!["nats://nats.eventcast:4222".into()], ..Nats::default() },
        cluster: "blue".into(),
        cluster_domain: "cluster.local".into(),
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        network_policies: true,
        pod_monitors: true,
    };
    let channel = Channel::new(&object(rest), &settings).expect("a good channel");
    (channel, settings)
}

fn object(rest: &str) -> EventChannel {
    let head = "apiVersion: eventcast.dev/v1alpha1\nkind: EventChannel\n\
                metadata: {name: orders, namespace: shop, uid: 0-1-2}\n";
    serde_saphyr::from_str(&format!("{head}{rest}")).expect("an EventChannel")
}

const FULL: &str = "
spec:
  retention: {maxAgeSeconds: 3600, replicas: 3}
  access:
    anonymous: [Subscribe]
    allowedOrigins: ['https://app.example']
    tokens:
    - {issuer: 'https://issuer.example', audience: shop, jwksUrl: 'https://issuer.example:8443/keys'}
    - {issuer: local, audience: shop, keySecret: {name: keys, key: jwks.json}}
  brokers:
    autoscaling: {minReplicas: 2, maxReplicas: 6, cpuPercent: 70, subscribersPerBroker: 20000}
    image: registry.example/broker:pinned
    resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 1Gi}}
    drainSeconds: 60
    nodeSelector: {pool: edge}
    tolerations: [{key: edge, operator: Exists}]
    priorityClassName: high
    podTemplate:
      metadata: {annotations: {team: shop}}
      spec:
        dnsPolicy: ClusterFirst
        containers:
        - {name: broker, env: [{name: EVENTCAST_LOG, value: debug}]}
        - {name: sidecar, image: 'registry.example/sidecar:1'}
  exposure:
    page: true
    service: {type: LoadBalancer, annotations: {a: b}}
    ingress: {host: events.example.com, className: nginx, tlsSecretName: cert, annotations: {haproxy.org/timeout-server: 2h}}
    gateway: {parentRefs: [{name: web, namespace: infra, sectionName: https}], hostnames: [gw.example.com], tls: true}
    trustedProxies: [10.0.0.0/8]
    proxyProtocol: true
";

fn credentials() -> Credentials {
    BTreeMap::from([("password".to_owned(), ByteString(b"secret".to_vec()))])
}

fn all(channel: &Channel, settings: &Settings, credentials: &Credentials) -> Vec<(Kind, Value)> {
    let inputs = Inputs { settings, credentials };
    Kind::ALL.into_iter().filter_map(|k| Some((k, build(k, channel, inputs)?))).collect()
}

fn strict<T: DeserializeOwned>(value: &Value) {
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize::<_, _, T>(value, |path| unknown.push(path.to_string()));
    assert!(read.is_ok() && unknown.is_empty(), "{unknown:?} {:?} in {value:#}", read.err());
}

#[test]
fn every_object_is_one_that_kubernetes_knows() {
    for (rest, secret) in [("spec: {}", BTreeMap::new()), (FULL, credentials())] {
        let (channel, settings) = channel(rest);
        for (kind, object) in all(&channel, &settings, &secret) {
            match kind {
                Kind::ServiceAccount => strict::<ServiceAccount>(&object),
                Kind::ConfigMap => strict::<ConfigMap>(&object),
                Kind::Secret => strict::<Secret>(&object),
                Kind::Service => strict::<Service>(&object),
                Kind::NetworkPolicy => strict::<NetworkPolicy>(&object),
                Kind::PodDisruptionBudget => strict::<PodDisruptionBudget>(&object),
                Kind::HorizontalPodAutoscaler => strict::<HorizontalPodAutoscaler>(&object),
                Kind::Ingress => strict::<Ingress>(&object),
                Kind::Deployment => strict::<Deployment>(&object),
                Kind::HttpRoute | Kind::PodMonitor => assert!(object["spec"].is_object()),
            }
            assert_eq!(object["metadata"]["name"], "orders-broker");
            assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "0-1-2", "{kind:?}");
            assert!(object.get("status").is_none());
        }
    }
}

#[test]
fn objects_are_what_they_were() {
    for (name, rest, secret) in
        [("minimal", "spec: {}", BTreeMap::new()), ("full", FULL, credentials())]
    {
        let (channel, settings) = channel(rest);
        let objects = all(&channel, &settings, &secret);
        let text: Vec<_> =
            objects.iter().map(|(_, o)| serde_saphyr::to_string(o).unwrap()).collect();
        golden(name, &text.join("---\n"));
    }
}

/// `UPDATE=1` writes the file again.
fn golden(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/build/golden/{name}.yaml"));
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs: look at the change with UPDATE=1 and git diff",
        file.display()
    );
}

#[test]
fn only_what_a_running_broker_cannot_take_over_rolls_it() {
    let hash = |rest: &str, secret: &Credentials| {
        let (channel, settings) = channel(rest);
        let inputs = Inputs { settings: &settings, credentials: secret };
        let deployment = build(Kind::Deployment, &channel, inputs).unwrap();
        deployment["spec"]["template"].to_string()
    };
    let before = hash("spec: {}", &BTreeMap::new());
    for same in [
        "spec: {delivery: {heartbeatSeconds: 9}}",
        "spec: {retention: {maxBytes: 100000, maxAgeSeconds: 200}}",
        "spec: {access: {allowedOrigins: ['*']}}",
        "spec: {publishing: {maxEventsPerSecond: 5, types: [a]}}",
        "spec: {exposure: {trustedProxies: [10.0.0.0/8]}}",
        "spec: {brokers: {replicas: 3}}",
    ] {
        assert_eq!(hash(same, &BTreeMap::new()), before, "{same}");
    }
    for other in [
        "spec: {exposure: {page: true}}",
        "spec: {brokers: {image: x}}",
        "spec: {brokers: {resources: {limits: {memory: 1Gi}}}}",
        "spec: {brokers: {drainSeconds: 99}}",
    ] {
        assert_ne!(hash(other, &BTreeMap::new()), before, "{other}");
    }
    assert_ne!(hash("spec: {}", &credentials()), before, "credentials are read at the start");
}

#[test]
fn a_broker_has_the_time_to_drain() {
    let (channel, settings) = channel("spec: {brokers: {drainSeconds: 100}}");
    let secret = BTreeMap::new();
    let inputs = Inputs { settings: &settings, credentials: &secret };
    let deployment = build(Kind::Deployment, &channel, inputs).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let s = &channel.broker.shutdown;
    assert_eq!(s.drain_seconds, 100);
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > s.grace_seconds);
    assert!(s.grace_seconds >= s.delay_seconds + s.drain_seconds);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert!(deployment["spec"].get("replicas").is_none(), "another manager's field");
}

#[test]
fn what_the_api_server_cannot_check_is_told_with_its_path() {
    let (_, settings) = channel("spec: {}");
    for (spec, words) in [
        (
            "brokers: {resources: {limits: {memory: 1Mi}}}",
            "spec.brokers.resources.limits.memory: 1Mi is too little",
        ),
        (
            "exposure: {trustedProxies: [elsewhere]}",
            "spec.exposure.trustedProxies[0]: elsewhere is not a network",
        ),
        (
            "brokers: {podTemplate: {spec: {containers: [], colour: red}}}",
            "spec.brokers.podTemplate.spec.colour: a PodTemplateSpec has no such field",
        ),
        ("brokers: {podTemplate: {spec: 7}}", "spec.brokers.podTemplate: "),
        (
            "brokers: {resources: {}, autoscaling: {minReplicas: 1, maxReplicas: 2, cpuPercent: 50}}",
            "spec.brokers.autoscaling.cpuPercent: counts nothing without a request",
        ),
        ("delivery: {from: yesterday}", "spec.delivery.from: must be latest"),
        ("stream: {subjectPrefix: $SYS}", "spec.stream.subjectPrefix: "),
        ("retention: {replicas: 2}", "spec.retention.replicas: must be 1, 3 or 5"),
    ] {
        let found = Channel::new(&object(&format!("spec: {{{spec}}}")), &settings).expect_err(spec);
        assert!(found.iter().any(|f| f.contains(words)), "{words} not in {found:#?}");
    }
}

#[test]
fn urls_lead_to_the_nearest_way_in() {
    let domain = "cluster.local";
    for (spec, balancer, expected) in [
        ("", None, "http://orders-broker.shop.svc.cluster.local/channels/shop/orders/events"),
        ("", Some("1.2.3.4"), "http://1.2.3.4/channels/shop/orders/events"),
        (
            "gateway: {parentRefs: [{name: g}], hostnames: [b.example], tls: true}",
            None,
            "https://b.example/channels/shop/orders/events",
        ),
        ("ingress: {host: a.example}", None, "http://a.example/channels/shop/orders/events"),
        (
            "ingress: {host: a.example, tlsSecretName: t}",
            Some("x"),
            "https://a.example/channels/shop/orders/events",
        ),
        ("", Some("2001:db8::7"), "http://[2001:db8::7]/channels/shop/orders/events"),
        ("", Some("lb.example"), "http://lb.example/channels/shop/orders/events"),
        // a host name that stands for many is none that a client can open
        ("ingress: {host: '*.example'}", Some("x"), "http://x/channels/shop/orders/events"),
        (
            "gateway: {parentRefs: [{name: g}], hostnames: ['*.example', b.example]}",
            None,
            "http://b.example/channels/shop/orders/events",
        ),
        (
            "gateway: {parentRefs: [{name: g}], hostnames: ['*.example']}",
            None,
            "http://orders-broker.shop.svc.cluster.local/channels/shop/orders/events",
        ),
    ] {
        let (channel, _) = channel(&format!("spec: {{exposure: {{{spec}}}}}"));
        assert_eq!(exposure::url(&channel, domain, balancer), expected);
    }
}

#[test]
fn proxies_are_trusted_by_default_where_nobody_comes_past_them() {
    let trusted = |exposure: &str| {
        let (channel, _) = channel(&format!("spec: {{exposure: {{{exposure}}}}}"));
        channel.broker.limits.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let default = ["10.0.0.0/8"];
    let none: [&str; 0] = [];
    assert_eq!(trusted("ingress: {host: a.example}"), default);
    assert_eq!(trusted("gateway: {parentRefs: [{name: g}]}"), default);
    assert_eq!(trusted(""), none, "reached by pods alone: each is a client");
    for kind in ["LoadBalancer", "NodePort"] {
        let open = format!("ingress: {{host: a.example}}, service: {{type: {kind}}}");
        assert_eq!(trusted(&open), none, "{kind}: clients come with the address of a node");
    }
    assert_eq!(trusted("ingress: {host: a.example}, trustedProxies: []"), none);
    assert_eq!(trusted("trustedProxies: [192.168.0.0/16]"), ["192.168.0.0/16"]);
}

#[test]
fn limits_reach_the_broker() {
    let (of, _) = channel("spec: {limits: {subscribersPerAddress: 7}}");
    assert_eq!(of.broker.limits.subscribers_per_address, 7);
    let (of, _) = channel("spec: {}");
    assert_eq!(of.broker.limits, eventcast_crds::config::Limits::default());
}
