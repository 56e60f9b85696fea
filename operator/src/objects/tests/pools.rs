//! The objects of pools, and of channels that pools serve.

use super::*;
use crate::pool::Pool;

/// A pool that others may see.
const POOL: &str = "
metadata: {name: shared, namespace: shop, uid: 0-1-3}
spec:
  brokers: {autoscaling: {minReplicas: 2, maxReplicas: 9, subscribersPerBroker: 10000}}
  channels: {namespaces: {from: All}, max: 5000}
  exposure: {page: true, ingress: {host: events.example.com, tlsSecretName: cert}}
";

fn pool() -> (Pool, Settings) {
    let (_, settings) = channel("spec: {}");
    let head = "apiVersion: eventcast.dev/v1alpha1\nkind: BrokerPool\n";
    let raw = serde_saphyr::from_str(&format!("{head}{}", POOL.trim_start())).unwrap();
    (Pool::parse(&raw, &settings).unwrap(), settings)
}

#[test]
fn the_objects_of_a_pool_match_the_golden_file() {
    let (mut pool, settings) = pool();
    pool.workload.connects_to.insert("https://issuer.example:8443/keys".into());
    let secret = BTreeMap::new();
    let inputs = Inputs::own(&settings, &secret);
    let objects = Kind::ALL.into_iter().filter_map(|kind| build(kind, &pool.workload, inputs));
    let file = json!(channel_file(&pool.workload, "shared-pool-channels-0", '0', "{}"));
    strict::<ConfigMap>(&file);
    let text: Vec<_> =
        objects.chain([file]).map(|o| serde_saphyr::to_string(&o).unwrap()).collect();
    golden("pool", &text.join("---\n"));
}

#[test]
fn a_channel_of_a_pool_has_only_ways_to_its_brokers() {
    let (pool, settings) = pool();
    let (channel, _) = channel("spec: {exposure: {ingress: {host: a.example}}}");
    let secret = credentials();
    let objects = |key: OwnerKey| {
        let backend = Backend::Pool { key, exposure: Box::new(pool.spec.exposure.clone()) };
        let inputs =
            Inputs { backend: &backend, has_brokers: false, ..Inputs::own(&settings, &secret) };
        let build = |kind| Some((kind, build(kind, &channel.workload, inputs)?));
        Kind::ALL.into_iter().filter_map(build).collect::<Vec<_>>()
    };
    let of_pool = pool.workload.owner.key.clone();
    let same = objects(of_pool.clone());
    let kinds: Vec<_> = same.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Service, Kind::Ingress]);
    let service = &same[0].1;
    strict::<Service>(service);
    assert_eq!(service["metadata"]["name"], "orders-broker");
    assert_eq!(service["spec"]["selector"]["app.kubernetes.io/component"], "broker-pool");
    assert_eq!(service["spec"]["selector"]["app.kubernetes.io/instance"], "shared");
    let other = objects(OwnerKey { namespace: "infra".into(), ..of_pool });
    let service = &other[0].1["spec"];
    assert_eq!(service["type"], "ExternalName");
    assert_eq!(service["externalName"], "shared-pool.infra.svc.cluster.local");
    assert_eq!(service.get("selector"), None);
}
