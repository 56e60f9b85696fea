//! Faults around the operator: NATS and the API server unreachable, the operator killed at any moment, two operators at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    eventually, init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::{TestNamespace, WAIT_TIMEOUT, apply, holds, install_crd},
    nats::NatsServer,
    operator::{Operator, Options},
};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Service};
use kube::{Api, Client, api::DeleteParams};
use rustix::process::Signal;
use serde_json::json;

#[tokio::test]
async fn nats_goes_away_and_comes_back() -> Result<()> {
    init_tracing();
    let mut ns = TestNamespace::start().await?;
    ns.apply("before", json!({})).await?;
    ns.settled("before").await?;
    ns.nats.kill9()?;
    ns.apply("meanwhile", json!({})).await?;
    let condition = ns.condition("meanwhile", "StreamReady", "False", "NatsUnreachable").await?;
    assert!(condition.message.contains(&ns.nats.url()), "{}", condition.message);
    // Brokers are made and repaired all the same.
    ns.object::<Deployment>("meanwhile", |_| true).await?;
    ns.api::<Service>().delete("before-broker", &DeleteParams::default()).await?;
    ns.object::<Service>("before", |_| true).await?;
    ns.nats.restart().await?;
    ns.settled("meanwhile").await?;
    ns.settled("before").await
}

#[tokio::test]
async fn an_operator_that_is_killed_at_any_moment_goes_on_where_it_was() -> Result<()> {
    init_tracing();
    let mut ns = TestNamespace::start_with(&["--leader-election=false"]).await?;
    // Each round kills it a little later in the making of a channel; writes of the operator are the clock.
    for round in 0..10_u32 {
        let name = format!("orders-{round}");
        ns.apply(&name, json!({"deletionPolicy": "Delete", "brokers": {"replicas": 2}})).await?;
        eventually("some writes", WAIT_TIMEOUT, || async {
            let writes = ns.operator.metric("eventcast_operator_api_writes_total", &[]).await?;
            ensure!(writes >= f64::from(round), "{writes}");
            anyhow::Ok(())
        })
        .await?;
        ns.operator.kill9()?;
        ns.operator.relaunch()?;
        ns.operator.leads(Duration::from_secs(60)).await?;
        ns.settled(&name).await?;
        ns.object::<Deployment>(&name, |d| d.spec.as_ref().is_some_and(|s| s.replicas == Some(2)))
            .await?;
        ns.delete(&name).await?;
        if round % 2 == 0 {
            ns.operator.kill9()?;
            ns.operator.relaunch()?;
            ns.operator.leads(Duration::from_secs(60)).await?;
        }
        eventually("channel and stream are gone", WAIT_TIMEOUT, || async {
            ensure!(
                ns.api::<EventChannel>().get_opt(&name).await?.is_none(),
                "the channel is there"
            );
            ensure!(ns.stream(&name).await.is_err(), "the stream is there");
            anyhow::Ok(())
        })
        .await?;
        // what a garbage collector would do
        ns.api::<Deployment>().delete(&format!("{name}-broker"), &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn accepted(client: &Client, namespace: &str, name: &str) -> Result<()> {
    holds(client, namespace, name, &["Accepted", "StreamReady"], Duration::from_secs(60)).await
}

#[tokio::test]
async fn the_api_server_goes_away_and_comes_back() -> Result<()> {
    init_tracing();
    let mut server = ApiServer::start().await?;
    install_crd(&server).await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    let nats = NatsServer::start().await?;
    let options = Options::of_all_namespaces(server.admin_kubeconfig(), &nats, &namespace);
    let mut operator = Operator::start(options).await?;
    apply(&client, &namespace, "before", json!({})).await?;
    accepted(&client, &namespace, "before").await?;
    server.kill9()?;
    server.restart().await?;
    let client = server.client().await?;
    apply(&client, &namespace, "after", json!({})).await?;
    accepted(&client, &namespace, "after").await?;
    assert!(operator.process()?.pid() > 0, "a short outage ends no operator");
    // An operator that is paused for longer than its Lease exits, because another one may lead by then.
    server.pause()?;
    let code = operator.wait_exit(Duration::from_secs(40)).await?;
    assert_eq!(code, Some(1), "{}", operator.log());
    server.resume()?;
    operator.relaunch()?; // as a kubelet does
    operator.leads(Duration::from_secs(60)).await?;
    apply(&client, &namespace, "before", json!({"delivery": {"heartbeatSeconds": 9}})).await?;
    accepted(&client, &namespace, "before").await
}

#[tokio::test]
async fn only_the_operator_with_the_lease_writes() -> Result<()> {
    init_tracing();
    let server = ApiServer::start().await?;
    install_crd(&server).await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    let nats = NatsServer::start().await?;
    let options = |identity: &str| Options {
        more: vec![format!("--identity={identity}")],
        ..Options::of_all_namespaces(server.admin_kubeconfig(), &nats, &namespace)
    };
    let mut first = Operator::start(options("first")).await?;
    let mut second = Operator::launch(options("second"))?;
    apply(&client, &namespace, "orders", json!({})).await?;
    accepted(&client, &namespace, "orders").await?;
    eventually("the second is ready and does not lead", WAIT_TIMEOUT, || async {
        ensure!(second.get("/readyz").await?.0 == 200, "not ready");
        ensure!(second.metric("eventcast_operator_leader", &[]).await? == 0.0, "two lead");
        anyhow::Ok(())
    })
    .await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let holder = || async {
        let lease = leases.get("eventcast-operator").await?;
        anyhow::Ok(lease.spec.and_then(|s| s.holder_identity).unwrap_or_default())
    };
    assert_eq!(holder().await?, "first");

    // The leader stands still, as on a node that swaps; the other takes over; the first wakes up to find that it may not write.
    first.signal(Signal::STOP)?;
    second.leads(Duration::from_secs(40)).await?;
    assert_eq!(holder().await?, "second");
    apply(&client, &namespace, "orders", json!({"delivery": {"heartbeatSeconds": 9}})).await?;
    accepted(&client, &namespace, "orders").await?;
    first.signal(Signal::CONT)?;
    assert_eq!(first.wait_exit(WAIT_TIMEOUT).await?, Some(1), "{}", first.log());
    assert_eq!(holder().await?, "second");

    // One that ends in good order gives the Lease up, and the next need not wait for its end.
    first.relaunch()?;
    second.signal(Signal::TERM)?;
    assert_eq!(second.wait_exit(WAIT_TIMEOUT).await?, Some(0), "{}", second.log());
    first.leads(Duration::from_secs(10)).await
}
