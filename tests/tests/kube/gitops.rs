//! What Flux, Helm 4 and Argo CD read of a channel: nobody may take it for ready before the operator saw it, and a channel that needs a
//! person says so.

use anyhow::{Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    eventually, init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::{TestNamespace, WAIT_TIMEOUT, apply, install_crd},
};
use kube::Api;
use serde_json::json;

#[tokio::test]
async fn a_channel_that_no_operator_saw_is_of_no_generation() -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let client = cluster.client().await?;
    let namespace = temp_namespace(&client).await?;
    apply(&client, &namespace, "orders", json!({})).await?;
    let api: Api<EventChannel> = Api::namespaced(client, &namespace);
    let status = api.get("orders").await?.status.unwrap_or_default();
    assert_eq!(status.observed_generation, Some(-1));
    assert!(status.conditions.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_channel_that_needs_a_person_is_stalled_until_it_is_corrected() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let bad = json!({"brokers": {"resources": {"limits": {"memory": "1Mi"}}}});
    ns.apply("orders", bad).await?;
    let stalled = ns.condition("orders", "Stalled", "True", "InvalidSpec").await?;
    assert!(stalled.message.contains("1Mi is too little"), "{}", stalled.message);
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    eventually("it is not stalled", WAIT_TIMEOUT, || async {
        let channel = ns.api::<EventChannel>().get("orders").await?;
        let (generation, status) =
            (channel.metadata.generation, channel.status.unwrap_or_default());
        ensure!(status.observed_generation == generation, "{status:?}");
        ensure!(status.conditions.iter().all(|c| c.type_ != "Stalled"), "{status:?}");
        anyhow::Ok(())
    })
    .await
}
