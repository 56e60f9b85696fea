//! The operator with exactly the permissions that the chart grants: every call is allowed, and every permission is used.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{channel::EventChannel, pool::BrokerPool};
use eventcast_tests::{
    chart, eventually, init_tracing,
    kube::{ApiServer, Cluster, temp_namespace},
    namespace::{self, WAIT_TIMEOUT, install_crd},
    nats::NatsServer,
    operator::{Operator, Options},
    process,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, Subject},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// A right or a call: verb, group, resource with subresource.
type Right = (String, String, String);

/// The definitions of other projects, as small as they can be.
fn definition(group: &str, kind: &str, plural: &str) -> String {
    let approved = "api-approved.kubernetes.io";
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"), "annotations": {approved: "https://github.com/kubernetes-sigs/gateway-api"}},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
    .to_string()
}

/// Installs the definition of another project.
pub(crate) async fn install(
    cluster: &Cluster,
    group: &str,
    kind: &str,
    plural: &str,
) -> Result<()> {
    apply(cluster, &definition(group, kind, plural)).await
}

/// Installs the definitions of objects that the operator makes only where they exist.
pub(crate) async fn install_optional_kinds(cluster: &Cluster) -> Result<()> {
    for (group, kind, plural) in [
        ("gateway.networking.k8s.io", "HTTPRoute", "httproutes"),
        ("monitoring.coreos.com", "PodMonitor", "podmonitors"),
    ] {
        install(cluster, group, kind, plural).await?;
    }
    Ok(())
}

pub(crate) async fn apply(cluster: &Cluster, manifest: &str) -> Result<()> {
    let done = cluster.kubectl(&["apply", "--server-side", "-f", "-"], Some(manifest)).await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// The rights in the roles of what was rendered.
fn granted(manifests: &[Value]) -> BTreeSet<Right> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        rule[key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|w| w.as_str().map(str::to_owned))
            .collect()
    };
    let ours = |m: &&Value| {
        let name = chart::text(m, "/metadata/name");
        matches!(chart::text(m, "/kind"), "Role" | "ClusterRole")
            // for people, for the clients of channels, and for Knative
            && !["view", "edit", "subscriber", "publisher", "manager", "addressable"].iter().any(|role| name.ends_with(role))
    };
    let rules = manifests
        .iter()
        .filter(ours)
        .flat_map(|m| m["rules"].as_array().cloned().unwrap_or_default());
    let mut all = BTreeSet::new();
    for rule in rules {
        for group in words(&rule, "apiGroups") {
            for resource in words(&rule, "resources") {
                for verb in words(&rule, "verbs") {
                    all.insert((verb, group.clone(), resource.clone()));
                }
            }
        }
    }
    all
}

/// The ServiceAccounts that may verify tokens, as `<namespace>/<name>`.
async fn reviewers(client: &Client) -> Result<Vec<String>> {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let subjects = bindings.get("eventcast-token-reviewer").await?.subjects.unwrap_or_default();
    let of = |s: Subject| format!("{}/{}", s.namespace.unwrap_or_default(), s.name);
    Ok(subjects.into_iter().map(of).collect())
}

/// The rights that the operator has given to the brokers of the channel.
async fn given(client: &Client, namespace: &str) -> Result<BTreeSet<Right>> {
    let account = format!("{namespace}/orders-broker");
    eventually("the brokers may verify tokens", WAIT_TIMEOUT, || async {
        let reviewers = reviewers(client).await?;
        ensure!(reviewers == std::slice::from_ref(&account), "these do: {reviewers:?}");
        anyhow::Ok(())
    })
    .await?;
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    let binding = bindings.get("orders-broker").await?;
    assert_eq!((&*binding.role_ref.kind, &*binding.role_ref.name), ("Role", "orders-broker"));
    let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
    let whole: Api<ClusterRole> = Api::all(client.clone());
    let rules = [
        json!({"kind": "Role", "metadata": {"name": "a"}, "rules": roles.get("orders-broker").await?.rules}),
        json!({"kind": "Role", "metadata": {"name": "b"}, "rules": whole.get("eventcast-token-reviewer").await?.rules}),
    ];
    Ok(granted(&rules))
}

async fn channel(client: &Client, namespace: &str, spec: Value) -> Result<()> {
    namespace::apply(client, namespace, "orders", spec).await?;
    namespace::holds(
        client,
        namespace,
        "orders",
        &["Accepted", "StreamReady", "Exposed"],
        WAIT_TIMEOUT,
    )
    .await
}

/// Moves the channel into a pool, as if the brokers of the pool had served it already: its own brokers go.
async fn into_a_pool(client: &Client, namespace: &str) -> Result<()> {
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    let pool = json!({
        "apiVersion": "eventcast.dev/v1alpha1", "kind": "BrokerPool", "metadata": {"name": "shared"},
        "spec": {"channels": {"namespaces": {"from": "Selector", "selector": selector}}},
    });
    let pools: Api<BrokerPool> = Api::namespaced(client.clone(), namespace);
    let person = PatchParams::apply("a-person");
    pools.patch("shared", &person, &Patch::Apply(pool)).await?;
    eventually("the pool is accepted", WAIT_TIMEOUT, || async {
        let status = pools.get("shared").await?.status.unwrap_or_default();
        ensure!(status.conditions.iter().any(|c| c.type_ == "Accepted" && c.status == "True"));
        anyhow::Ok(())
    })
    .await?;
    let pool = json!({"name": "shared", "namespace": namespace});
    let served = json!({"status": {"pool": pool}});
    let channels: Api<EventChannel> = Api::namespaced(client.clone(), namespace);
    channels.patch_status("orders", &PatchParams::default(), &Patch::Merge(served)).await?;
    let spec = json!({"deletionPolicy": "Delete", "brokers": {"pool": {"name": "shared"}}});
    channel(client, namespace, spec).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    eventually("it has no brokers of its own", WAIT_TIMEOUT, || async {
        ensure!(deployments.get_opt("orders-broker").await?.is_none(), "a Deployment");
        ensure!(accounts.get_opt("orders-broker").await?.is_none(), "a ServiceAccount");
        anyhow::Ok(())
    })
    .await
}

#[tokio::test]
async fn every_call_is_allowed_and_every_right_is_used() -> Result<()> {
    init_tracing();
    let server = ApiServer::start().await?;
    install_crd(&server).await?;
    install_optional_kinds(&server).await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    let values = [
        "--set",
        "nats.enabled=false",
        "--set",
        "externalNats.servers={nats://nats:4222}",
        "--set",
        "externalNats.user=eventcast",
        "--set",
        "externalNats.existingSecret=nats",
        "--set",
        "externalNats.keys.password=password",
    ];
    let manifests = chart::render(&values)?;
    apply(
        &server,
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "eventcast-system"}})
            .to_string(),
    )
    .await?;
    let of_rights = ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount"];
    for manifest in manifests.iter().filter(|m| of_rights.contains(&chart::text(m, "/kind"))) {
        apply(&server, &manifest.to_string()).await?;
    }
    let account = manifests
        .iter()
        .find(|m| chart::text(m, "/kind") == "ServiceAccount")
        .context("no ServiceAccount")?;
    let account = chart::text(account, "/metadata/name").to_owned();
    let token = server.token("eventcast-system", &account).await?;

    let nats = NatsServer::start().await?;
    let folder = process::folder("eventcast-rights-")?;
    let password = folder.path().join("password");
    std::fs::write(&password, "secret")?;
    let more = |network: &str| {
        vec![
            "--nats-user=eventcast".to_owned(),
            format!("--nats-password-file={}", password.display()),
            format!("--network-policies={network}"),
            format!("--pod-monitors={network}"),
            "--token-review-binding=eventcast-token-reviewer".to_owned(),
            "--resync-seconds=2".to_owned(),
            "--look-seconds=1".to_owned(),
        ]
    };
    let options = |network: &str| {
        anyhow::Ok(Options {
            more: more(network),
            ..Options::of_all_namespaces(server.kubeconfig(&token)?, &nats, "eventcast-system")
        })
    };
    let mut operator = Operator::start(options("true")?).await?;
    eventually("every right is there", WAIT_TIMEOUT, || async {
        let (status, text) = operator.get("/readyz").await?;
        ensure!(status == 200, "{text}");
        anyhow::Ok(())
    })
    .await?;

    // A life with everything in it.
    channel(&client, &namespace, json!({
        "deletionPolicy": "Delete",
        "access": {"kubernetes": {}},
        "brokers": {"autoscaling": {"by": "HorizontalPodAutoscaler", "minReplicas": 2, "maxReplicas": 3, "cpuPercent": 50}},
        "exposure": {"ingress": {"host": "a.example"}, "gateway": {"parentRefs": [{"name": "web"}]}},
    }))
    .await
    .with_context(|| process::tail(&operator.log(), 30))?;
    let given = given(&client, &namespace).await?;
    channel(&client, &namespace, json!({"deletionPolicy": "Delete", "brokers": {"replicas": 2}}))
        .await?;
    // A mark that an earlier leader has left.
    let cost = "controller.kubernetes.io/pod-deletion-cost";
    let pod = json!({
        "metadata": {"name": "marked", "labels": {
            "app.kubernetes.io/managed-by": "eventcast-operator", "eventcast.dev/channel": "orders",
        }},
        "spec": {"containers": [{"name": "broker", "image": "x"}]},
    });
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let marked =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": {cost: "-1"}}});
    let leader = PatchParams::apply("eventcast-operator-scale");
    pods.patch("marked", &leader, &Patch::Apply(&marked)).await?;
    eventually("the mark is removed", WAIT_TIMEOUT, || async {
        let pod = pods.get("marked").await?;
        ensure!(!pod.annotations().contains_key(cost), "it is there");
        anyhow::Ok(())
    })
    .await?;
    eventually("the brokers have no right any more", WAIT_TIMEOUT, || async {
        ensure!(reviewers(&client).await?.is_empty(), "they may verify tokens");
        let roles: Api<Role> = Api::namespaced(client.clone(), &namespace);
        ensure!(roles.get_opt("orders-broker").await?.is_none(), "they may ask about access");
        anyhow::Ok(())
    })
    .await?;
    channel(&client, &namespace, json!({"deletionPolicy": "Delete"})).await?; // one broker: no disruption budget
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    for _ in 0..2 {
        // the second Event of one kind is a patch
        let before = services.get("orders-broker").await?;
        services.delete("orders-broker", &DeleteParams::default()).await?;
        eventually("it is there again", WAIT_TIMEOUT, || async {
            ensure!(
                services.get("orders-broker").await?.metadata.uid != before.metadata.uid,
                "the old one"
            );
            anyhow::Ok(())
        })
        .await?;
    }
    // Without network policies and monitors: those that there are go.
    operator.signal(rustix::process::Signal::TERM)?;
    operator.wait_exit(WAIT_TIMEOUT).await?;
    let mut operator = Operator::start(options("false")?).await?;
    channel(
        &client,
        &namespace,
        json!({"deletionPolicy": "Delete", "delivery": {"heartbeatSeconds": 9}}),
    )
    .await?;
    eventually("Events and all have been told", WAIT_TIMEOUT, || async {
        let calls: BTreeSet<_> =
            server.audit()?.into_iter().map(|e| (e.verb, e.resource)).collect();
        let last = ["networkpolicies", "podmonitors"].map(|r| ("delete".to_owned(), r.to_owned()));
        ensure!(last.iter().all(|l| calls.contains(l)), "not yet");
        anyhow::Ok(())
    })
    .await?;
    let channels: Api<EventChannel> = Api::namespaced(client.clone(), &namespace);
    into_a_pool(&client, &namespace).await?;
    channels.delete("orders", &DeleteParams::default()).await?;
    eventually("the channel is gone", WAIT_TIMEOUT, || async {
        ensure!(channels.get_opt("orders").await?.is_none(), "it is there");
        anyhow::Ok(())
    })
    .await?;
    operator.signal(rustix::process::Signal::TERM)?;
    operator.wait_exit(WAIT_TIMEOUT).await?;
    let services: Api<Service> = Api::namespaced(client, &namespace);
    assert!(
        services.get_opt("orders-broker").await?.is_some(),
        "owned objects are the garbage collector's"
    );

    let user = format!("system:serviceaccount:eventcast-system:{account}");
    let calls: Vec<_> = server.audit()?.into_iter().filter(|e| e.user == user).collect();
    let refused: Vec<_> = calls.iter().filter(|e| e.code == 403).collect();
    assert!(refused.is_empty(), "calls without a right: {refused:#?}");
    let used: BTreeSet<Right> = calls
        .into_iter()
        // allowed to everybody: questions about one's own permissions, discovery
        .filter(|e| !e.resource.is_empty() && e.group != "authorization.k8s.io")
        .flat_map(|e| {
            let resource = [e.resource, e.subresource].join("/");
            let resource = resource.trim_end_matches('/').to_owned();
            // an apply that creates is asked for both rights (code 201), and stands in the log as a patch
            let creates = (e.verb == "patch" && e.code == 201).then(|| "create".to_owned());
            let verbs = creates.into_iter().chain([e.verb]);
            verbs.map(|verb| (verb, e.group.clone(), resource.clone())).collect::<Vec<_>>()
        })
        .collect();
    let mut granted = granted(&manifests);
    // Looked at by an admission plugin that some clusters have, when an owner reference blocks its owner's deletion.
    granted.remove(&("update".into(), "eventcast.dev".into(), "eventchannels/finalizers".into()));
    granted.remove(&("update".into(), "eventcast.dev".into(), "brokerpools/finalizers".into()));
    let idle: BTreeSet<_> = granted.difference(&used).cloned().collect();
    assert_eq!(
        idle, given,
        "rights that nothing uses are those that brokers get from the operator"
    );
    let lacking: Vec<_> = used.difference(&granted).collect();
    assert!(lacking.is_empty(), "calls that the chart does not speak of: {lacking:#?}");
    Ok(())
}
