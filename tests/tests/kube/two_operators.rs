//! Two operators over one namespace: the second one notices the first one and writes nothing, unless a channel names it, or selectors
//! keep them apart.

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::channel::{EventChannel, status::OperatorStatus};
use eventcast_tests::{
    eventually, init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::{TestNamespace, WAIT_TIMEOUT, apply, holds, install_crd},
    nats::NatsServer,
    operator::{Operator, Options},
    process::{self, Process},
};
use k8s_openapi::api::{coordination::v1::Lease, networking::v1::NetworkPolicy};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// Another operator that watches the namespace, with a Lease of its own. It makes no NetworkPolicies, so that its hand can be seen.
async fn second(ns: &TestNamespace, more: &[&str]) -> Result<(Operator, String)> {
    let own = temp_namespace(&ns.client).await?;
    let more = [&["--network-policies=false"], more].concat();
    let options = Options {
        own: own.clone(),
        more: more.into_iter().map(str::to_owned).collect(),
        ..Options::of(ns.cluster.admin_kubeconfig(), &ns.nats, &ns.name)
    };
    Ok((Operator::start(options).await?, own))
}

async fn merge(ns: &TestNamespace, name: &str, patch: Value) -> Result<()> {
    let patch = Patch::Merge(patch);
    ns.api::<EventChannel>().patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn claimed_by(ns: &TestNamespace, name: &str, operator: &str) -> Result<()> {
    eventually(&format!("{name} is claimed by {operator}"), WAIT_TIMEOUT, || async {
        let status = ns.api::<EventChannel>().get(name).await?.status.unwrap_or_default();
        let claim = status.operator.context("no claim")?;
        ensure!(claim.name == operator, "by {}", claim.name);
        anyhow::Ok(())
    })
    .await
}

#[tokio::test]
async fn a_second_operator_writes_nothing_until_a_channel_names_it() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    claimed_by(&ns, "orders", &ns.name).await?;
    ns.object::<NetworkPolicy>("orders", |_| true).await?;

    let (second, name) = second(&ns, &[]).await?;
    let foreign = [("reason", "OtherOperator")];
    second.reaches("eventcast_operator_failures_total", &foreign, 1.0).await?;
    // Each change reaches both: the first one acts, the second one does not.
    ns.apply("orders", json!({"delivery": {"heartbeatSeconds": 9}})).await?;
    ns.settled("orders").await?;
    assert_eq!(second.metric("eventcast_operator_api_writes_total", &[]).await?, 0.0);
    let warnings = second.log().matches("another operator reconciles this channel").count();
    assert_eq!(warnings, 1, "{}", second.log());
    assert!(second.log().contains(&ns.name), "it names the other one");

    merge(&ns, "orders", json!({"metadata": {"annotations": {"eventcast.dev/operator": name}}}))
        .await?;
    claimed_by(&ns, "orders", &name).await?;
    eventually("the second one acts", WAIT_TIMEOUT, || async {
        let policy = ns.api::<NetworkPolicy>().get_opt("orders-broker").await?;
        ensure!(policy.is_none(), "the NetworkPolicy is there");
        anyhow::Ok(())
    })
    .await?;
    let counted = ns.operator.metric("eventcast_operator_failures_total", &foreign).await?;
    ensure!(counted > 0.0, "the first one leaves it alone");
    // The annotation goes, the claim stays.
    merge(&ns, "orders", json!({"metadata": {"annotations": {"eventcast.dev/operator": null}}}))
        .await?;
    ns.apply("orders", json!({"delivery": {"heartbeatSeconds": 8}})).await?;
    ns.settled("orders").await?;
    claimed_by(&ns, "orders", &name).await
}

/// Both watch all namespaces: the claim has no end, and is written once.
#[tokio::test]
async fn a_claim_lasts_as_long_as_the_lease_of_its_operator() -> Result<()> {
    init_tracing();
    let (server, nats) = (ApiServer::start().await?, NatsServer::start().await?);
    install_crd(&server).await?;
    let client = server.client().await?;
    let (first, second) = (temp_namespace(&client).await?, temp_namespace(&client).await?);
    let everywhere = |own: &str| Options {
        more: vec!["--resync-seconds=1".into()],
        ..Options::of_all_namespaces(server.admin_kubeconfig(), &nats, own)
    };
    let mut old = Operator::start(everywhere(&first)).await?;
    apply(&client, &first, "orders", json!({})).await?;
    holds(&client, &first, "orders", &["Accepted", "StreamReady"], WAIT_TIMEOUT).await?;
    let channels: Api<EventChannel> = Api::namespaced(client.clone(), &first);
    let claim = async || {
        let status = channels.get("orders").await?.status.unwrap_or_default();
        anyhow::Ok(status.operator.unwrap_or_default())
    };
    assert_eq!(claim().await?, OperatorStatus { name: first.clone(), until: None });

    let mut new = Operator::start(everywhere(&second)).await?;
    let (left_alone, by_reason) =
        ("eventcast_operator_failures_total", [("reason", "OtherOperator")]);
    new.reaches(left_alone, &by_reason, 1.0).await?;
    // A node that fails, or an upgrade: the old one comes back.
    old.kill9()?;
    new.reaches(left_alone, &by_reason, 4.0).await?;
    assert_eq!(new.metric("eventcast_operator_api_writes_total", &[]).await?, 0.0);
    assert_eq!(claim().await?.name, first);

    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(31);
    let stale = json!({"spec": {"renewTime": format!("{long_ago:.6}")}});
    let leases: Api<Lease> = Api::namespaced(client.clone(), &first);
    leases.patch("eventcast-operator", &PatchParams::default(), &Patch::Merge(stale)).await?;
    new.relaunch()?; // it reads a Lease once a minute
    eventually("the new one takes over", WAIT_TIMEOUT, || async {
        let name = claim().await?.name;
        ensure!(name == second, "{name} has it");
        anyhow::Ok(())
    })
    .await
}

#[tokio::test]
async fn selectors_keep_operators_apart() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start_with(&["--channel-selector=!canary"]).await?;
    let (_second, name) = second(&ns, &["--channel-selector=canary=yes"]).await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    claimed_by(&ns, "orders", &ns.name).await?;
    let api = ns.api::<EventChannel>();
    let canary = json!({"apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel",
        "metadata": {"name": "canary", "labels": {"canary": "yes"}}, "spec": {}});
    let params = PatchParams::apply("a-person").force();
    api.patch("canary", &params, &Patch::Apply(canary)).await?;
    ns.settled("canary").await?;
    claimed_by(&ns, "canary", &name).await?;
    // The stream of a channel that an operator does not select is not that of a deleted channel.
    let stolen = json!({"stream": {"name": format!("SSE_{}_canary", ns.name), "subjectPrefix": format!("sse.{}.canary", ns.name)}});
    ns.apply("thief", stolen).await?;
    ns.condition("thief", "StreamReady", "False", "NotOwned").await?;
    Ok(())
}

#[tokio::test]
async fn a_selector_that_the_api_server_rejects_ends_the_operator() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let folder = process::folder("eventcast-selector-")?;
    let arguments = [
        format!("KUBECONFIG={}", ns.cluster.admin_kubeconfig().display()),
        process::built("eventcast-operator").display().to_string(),
        "run".into(),
        "--admin=127.0.0.1:0".into(),
        format!("--nats-servers={}", ns.nats.url()),
        format!("--watch-namespaces={}", ns.name),
        "--broker-image=none".into(),
        "--channel-selector=a b".into(),
    ];
    let mut operator = Process::spawn("operator", Path::new("env"), &arguments, folder.path())?;
    let status = operator.wait_exit(Duration::from_secs(40)).await?;
    let log = operator.stderr();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.lines().last().is_some_and(|l| l.contains("--channel-selector: a b: ")), "{log}");
    Ok(())
}
