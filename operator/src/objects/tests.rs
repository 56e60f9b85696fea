//! Compares objects with the types of Kubernetes and with golden files.

use std::collections::BTreeMap;

use expect_test::expect_file;
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        networking::v1::{Ingress, NetworkPolicy},
        policy::v1::PodDisruptionBudget,
        rbac::v1::{Role, RoleBinding},
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;
use crate::channel::{
    Channel,
    fixture::{channel, channel_with},
};

mod pools;

const FULL: &str = "
spec:
  retention: {maxAgeSeconds: 3600, replicas: 3}
  access:
    anonymous: [Subscribe]
    allowedOrigins: ['https://app.example']
    tokens:
    - {issuer: 'https://issuer.example', audience: shop, jwksUrl: 'https://issuer.example:8443/keys'}
    - {issuer: local, audience: shop, keySecret: {name: keys, key: jwks.json}}
    - issuer: https://internal.example
      audience: shop
      jwksUrl: https://internal.example/keys
      caSecret: {name: keys, key: ca.crt}
      subscribe: {topics: ['user.{sub}']}
    kubernetes: {audience: eventcast}
    apiKeys: {secretName: orders-publishers}
    certificates:
    - {names: ['spiffe://shop.example/ns/*/sa/orders'], publish: {topics: ['order.>'], source: '{name}'}, quota: services}
    quotas: [{name: services, publishesPerSecond: 100}]
  brokers:
    autoscaling: {by: HorizontalPodAutoscaler, minReplicas: 2, maxReplicas: 6, cpuPercent: 70, subscribersPerBroker: 20000}
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
    service:
      type: LoadBalancer
      labels: {tier: edge}
      annotations: {a: b}
      externalTrafficPolicy: Local
      loadBalancerClass: example.com/internal
      loadBalancerSourceRanges: [203.0.113.0/24]
      ipFamilyPolicy: PreferDualStack
      ipFamilies: [IPv6, IPv4]
      trafficDistribution: PreferClose
    ingress: {host: events.example.com, className: nginx, tlsSecretName: cert, labels: {zone: dmz}, annotations: {haproxy.org/timeout-server: 2h}}
    gateway: {parentRefs: [{name: web, namespace: infra, sectionName: https}], hostnames: [gw.example.com], tls: true, labels: {zone: dmz}, annotations: {external-dns.example.com/ttl: '60'}, timeouts: Unset}
    tls: {secretName: orders-tls, minVersion: '1.3', plaintext: true, clientCaSecret: {name: orders-clients}}
    trustedProxies: [10.0.0.0/8]
    proxyProtocol: true
";

/// A file of `--broker-defaults` that sets everything.
const DEFAULTS: &str = "
labels: {team: platform, example.com/tier: edge}
annotations: {example.com/owner: platform}
inheritLabels: [cost.example.com/*]
inheritAnnotations: ['*']
podTemplate: {spec: {containers: [{name: broker, env: [{name: TZ, value: UTC}]}]}}
log: {level: debug, format: text, access: true}
telemetry: {otlp: {endpoint: 'http://collector.monitoring:4318', sampleRatio: 0.1}}
limits: {connections: 20000, overload: status}
query: {concurrent: 4}
podMonitor: {labels: {release: prometheus}, interval: 30s, scrapeTimeout: 10s, metricRelabelings: [{action: labeldrop, regex: pod}]}
metrics: {annotations: false}
networkPolicy:
  extraIngress: [{ports: [{port: 15008, protocol: TCP}]}]
  extraEgress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: istio-system}}}]}]
  metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
";

const INHERITING: &str = "
  labels: {team: shop, cost.example.com/centre: '7', other: x}
  annotations: {note: hello, argocd.argoproj.io/tracking-id: y}
spec: {}
";

fn credentials() -> Credentials {
    BTreeMap::from([("password".to_owned(), ByteString(b"secret".to_vec()))])
}

fn all(channel: &Channel, settings: &Settings, credentials: &Credentials) -> Vec<(Kind, Value)> {
    let inputs = Inputs::own(settings, credentials);
    Kind::ALL.into_iter().filter_map(|k| Some((k, build(k, &channel.workload, inputs)?))).collect()
}

fn strict<T: DeserializeOwned>(value: &Value) {
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize::<_, _, T>(value, |path| unknown.push(path.to_string()));
    assert!(read.is_ok() && unknown.is_empty(), "{unknown:?} {:?} in {value:#}", read.err());
}

#[test]
fn objects_have_only_fields_that_kubernetes_knows() {
    for (rest, defaults, secret) in [
        ("spec: {}", "", BTreeMap::new()),
        (FULL, "", credentials()),
        (INHERITING, DEFAULTS, BTreeMap::new()),
    ] {
        let (channel, settings) = channel_with(rest, defaults);
        for (kind, object) in all(&channel, &settings, &secret) {
            match kind {
                Kind::ServiceAccount => strict::<ServiceAccount>(&object),
                Kind::Role => strict::<Role>(&object),
                Kind::RoleBinding => strict::<RoleBinding>(&object),
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
fn objects_match_the_golden_files() {
    for (name, rest, defaults, secret) in [
        ("minimal", "spec: {}", "", BTreeMap::new()),
        ("full", FULL, "", credentials()),
        ("defaults", INHERITING, DEFAULTS, BTreeMap::new()),
    ] {
        let (channel, settings) = channel_with(rest, defaults);
        let objects = all(&channel, &settings, &secret);
        let text: Vec<_> =
            objects.iter().map(|(_, o)| serde_saphyr::to_string(o).unwrap()).collect();
        golden(name, &text.join("---\n"));
    }
}

/// Compares `text` with a golden file, which `make docs` writes.
fn golden(name: &str, text: &str) {
    expect_file![format!("golden/{name}.yaml")].assert_eq(text);
}

#[test]
fn only_changes_that_need_a_restart_change_the_pod_template() {
    let template = |rest: &str, secret: &Credentials| {
        let (channel, settings) = channel(rest);
        let inputs = Inputs::own(&settings, secret);
        let deployment = build(Kind::Deployment, &channel.workload, inputs).unwrap();
        deployment["spec"]["template"].to_string()
    };
    let before = template("spec: {}", &BTreeMap::new());
    for same in [
        "spec: {delivery: {heartbeatSeconds: 9}}",
        "spec: {retention: {maxBytes: 100000, maxAgeSeconds: 200}}",
        "spec: {access: {allowedOrigins: ['*']}}",
        "spec: {publishing: {maxEventsPerSecond: 5, types: [a]}}",
        "spec: {exposure: {trustedProxies: [10.0.0.0/8]}}",
        "spec: {brokers: {replicas: 3}}",
        "spec: {access: {anonymous: [Subscribe], tickets: {maxSeconds: 60}}}",
        "spec: {access: {tokens: [{issuer: i, audience: a, jwksUrl: 'https://i/keys'}]}}",
    ] {
        assert_eq!(template(same, &BTreeMap::new()), before, "{same}");
    }
    for other in [
        "spec: {exposure: {page: true}}",
        "spec: {brokers: {image: x}}",
        "spec: {brokers: {resources: {limits: {memory: 1Gi}}}}",
        "spec: {brokers: {drainSeconds: 99}}",
        "spec: {access: {tokens: [{issuer: i, audience: a, keySecret: {name: s, key: k}}]}}",
        "spec: {access: {apiKeys: {secretName: s}}}",
        "spec: {access: {kubernetes: {}}}",
        "spec: {exposure: {tls: {secretName: s}}}",
        "spec: {exposure: {tls: {secretName: s, clientCaSecret: {name: c}}}}",
    ] {
        assert_ne!(template(other, &BTreeMap::new()), before, "{other}");
    }
    assert_ne!(
        template("spec: {}", &credentials()),
        before,
        "a broker reads credentials at its start"
    );
}

#[test]
fn a_channels_own_template_wins_and_no_default_takes_the_operators_labels() {
    let defaults = "
podTemplate: {metadata: {annotations: {a: default, b: default}}, spec: {dnsPolicy: Default, containers: [{name: broker, env: [{name: A, value: default}, {name: B, value: default}], resources: {limits: {memory: 128Mi}}}]}}
";
    let custom = "spec: {brokers: {podTemplate: {metadata: {annotations: {b: own}}, spec: {containers: [{name: broker, env: [{name: B, value: own}, {name: EVENTCAST_LOG_FORMAT, value: text}]}]}}}}";
    let (channel, settings) = channel_with(custom, defaults);
    let secret = BTreeMap::new();
    let inputs = Inputs::own(&settings, &secret);
    let deployment = build(Kind::Deployment, &channel.workload, inputs).unwrap();
    let template = &deployment["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"]["a"], "default");
    assert_eq!(template["metadata"]["annotations"]["b"], "own");
    assert_eq!(template["spec"]["dnsPolicy"], "Default");
    let containers = template["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    let env = containers[0]["env"].as_array().unwrap();
    let value = |name: &str| env.iter().find(|v| v["name"] == name).map(|v| v["value"].clone());
    assert_eq!(value("A"), Some(json!("default")));
    assert_eq!(value("B"), Some(json!("own")));
    assert_eq!(value("EVENTCAST_LOG_FORMAT"), Some(json!("text")), "json without it");
    assert_eq!(
        channel.workload.config.memory.tail_bytes,
        16 << 20,
        "the memory limit of the template"
    );
}

/// OpenShift assigns a user and groups to each pod, and rejects pods that ask for others. Elsewhere the user of the image applies.
#[test]
fn no_pod_asks_for_a_user_or_a_group() {
    for (rest, secret) in [("spec: {}", BTreeMap::new()), (FULL, credentials())] {
        let (channel, settings) = channel(rest);
        for (kind, object) in all(&channel, &settings, &secret) {
            let text = object.to_string();
            for field in ["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"] {
                assert!(!text.contains(field), "{kind:?} has {field}");
            }
        }
        let deployment =
            build(Kind::Deployment, &channel.workload, Inputs::own(&settings, &secret));
        let pod = &deployment.unwrap()["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    }
}

#[test]
fn a_pod_has_the_time_to_drain() {
    let (channel, settings) = channel("spec: {brokers: {drainSeconds: 100}}");
    let secret = BTreeMap::new();
    let inputs = Inputs::own(&settings, &secret);
    let deployment = build(Kind::Deployment, &channel.workload, inputs).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let s = &channel.workload.config.shutdown;
    assert_eq!(s.drain_seconds, 100);
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > s.grace_seconds);
    assert!(s.grace_seconds >= s.delay_seconds + s.drain_seconds);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert!(deployment["spec"].get("replicas").is_none(), "owned by another field manager");
}

#[test]
fn a_listener_is_in_the_service_the_pod_and_the_network_policy_or_in_none() {
    let names = |ports: &Value| -> Vec<String> {
        let ports = ports.as_array().into_iter().flatten();
        let name =
            |port: &Value| port["name"].as_str().or(port["port"].as_str()).map(str::to_owned);
        ports.filter_map(name).filter(|name| name != "admin").collect()
    };
    for (exposure, expected) in [
        ("", &["http"][..]),
        ("tls: {secretName: s}", &["https"]),
        ("tls: {secretName: s, plaintext: true}", &["http", "https"]),
    ] {
        let (channel, settings) = channel(&format!("spec: {{exposure: {{{exposure}}}}}"));
        let secret = BTreeMap::new();
        let inputs = Inputs::own(&settings, &secret);
        let built = |kind| build(kind, &channel.workload, inputs).unwrap();
        let deployment = built(Kind::Deployment);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let policy = built(Kind::NetworkPolicy);
        assert_eq!(names(&built(Kind::Service)["spec"]["ports"]), expected, "{exposure}");
        assert_eq!(names(&container["ports"]), expected, "{exposure}");
        assert_eq!(names(&policy["spec"]["ingress"][0]["ports"]), expected, "{exposure}");
        assert_eq!(container["readinessProbe"]["httpGet"]["port"], "admin");
        let tls = channel.workload.config.tls.as_ref();
        assert_eq!(tls.is_some(), expected.contains(&"https"));
        assert_eq!(tls.is_none_or(|tls| tls.plaintext), expected.contains(&"http"));
    }
}

#[test]
fn a_key_of_a_secret_has_one_file_whatever_the_order_of_the_issuers() {
    let files = |issuers: [(&str, &str); 2]| {
        let token = |(issuer, key)| {
            format!("{{issuer: {issuer}, audience: a, keySecret: {{name: keys, key: {key}}}}}")
        };
        let tokens = issuers.map(token).join(", ");
        let (channel, settings) = channel(&format!("spec: {{access: {{tokens: [{tokens}]}}}}"));
        let secret = BTreeMap::new();
        let inputs = Inputs::own(&settings, &secret);
        let deployment = build(Kind::Deployment, &channel.workload, inputs).unwrap();
        let volumes = &deployment["spec"]["template"]["spec"]["volumes"];
        let volumes = volumes.as_array().unwrap();
        let keys = volumes.iter().find(|volume| volume["name"] == "keys").unwrap();
        let sources = keys["projected"]["sources"].as_array().unwrap();
        assert_eq!(sources.len(), 1, "a path that is there twice is rejected");
        assert_eq!(sources[0]["secret"]["optional"], true);
        let items = sources[0]["secret"]["items"].as_array().unwrap().clone();
        let access = &channel.workload.config.channels[0].access;
        let of = |issuer: &str| {
            let token = access.tokens.iter().find(|token| token.issuer == issuer).unwrap();
            token.key_file.clone().unwrap().display().to_string()
        };
        (items, of("one"), of("two"))
    };
    let (items, one, two) = files([("one", "a.pem"), ("two", "b.pem")]);
    assert_eq!(items[0], json!({"key": "a.pem", "path": "keys/a.pem"}));
    assert_eq!(one, "/etc/eventcast/keys/keys/a.pem");
    let (_, first, second) = files([("two", "b.pem"), ("one", "a.pem")]);
    assert_eq!(
        (one, two),
        (first, second),
        "running brokers would take one issuer's keys for another's"
    );
    let (items, _, _) = files([("one", "a.pem"), ("two", "a.pem")]);
    assert_eq!(items.len(), 1);
}

/// The default of a Gateway, 15 seconds in Envoy, would end every stream.
#[test]
fn an_http_route_has_no_time_limit_and_no_timeouts_where_the_gateway_rejects_them() {
    for (more, expected) in
        [("", json!({"request": "0s", "backendRequest": "0s"})), (", timeouts: Unset", Value::Null)]
    {
        let spec =
            format!("spec: {{exposure: {{gateway: {{parentRefs: [{{name: web}}]{more}}}}}}}");
        let (channel, settings) = channel(&spec);
        let none = BTreeMap::new();
        let inputs = Inputs::own(&settings, &none);
        let route = build(Kind::HttpRoute, &channel.workload, inputs).unwrap();
        assert_eq!(route["spec"]["rules"][0]["timeouts"], expected);
    }
}
