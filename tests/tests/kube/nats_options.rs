//! NATS behind a leaf node: operator and brokers use the JetStream domain of the flags.

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::load;
use eventcast_tests::{
    init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::{TestNamespace, install_crd},
    nats::NatsServer,
    operator::{Operator, Options},
};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

async fn namespace(domain: &str) -> Result<TestNamespace> {
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let client = cluster.client().await?;
    let name = temp_namespace(&client).await?;
    let nats = NatsServer::launch_with("domain: hub", "")?;
    let operator = Operator::start(Options {
        more: vec![format!("--nats-domain={domain}"), "--nats-inbox-prefix=_INBOX_shop".into()],
        ..Options::of(cluster.admin_kubeconfig(), &nats, &name)
    })
    .await?;
    Ok(TestNamespace { client, name, nats, operator, cluster })
}

#[tokio::test]
async fn operator_and_brokers_use_the_domain() -> Result<()> {
    init_tracing();
    let ns = namespace("hub").await?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    let map = ns.object::<ConfigMap>("orders", |_| true).await?;
    let text = map.data.context("no data")?.remove("broker.yaml").context("no configuration")?;
    let nats = load::load(&text, &[])?.config.nats;
    assert_eq!(
        (nats.domain.as_deref(), nats.inbox_prefix.as_deref()),
        (Some("hub"), Some("_INBOX_shop"))
    );

    let other = namespace("spoke").await?;
    other.apply("orders", json!({})).await?;
    let failed = ["NatsUnreachable", "NatsRefused"];
    let condition = eventcast_tests::eventually(
        "StreamReady is false",
        std::time::Duration::from_secs(45),
        || async {
            let channel =
                other.api::<eventcast_crds::channel::EventChannel>().get("orders").await?;
            let conditions = channel.status.unwrap_or_default().conditions;
            let found =
                conditions.into_iter().find(|c| c.type_ == "StreamReady").context("none")?;
            // not only because the server has just been started
            ensure!(
                found.status == "False" && !found.message.starts_with("no connection"),
                "{found:?}"
            );
            anyhow::Ok(found)
        },
    )
    .await?;
    ensure!(failed.contains(&&*condition.reason), "{condition:?}");
    Ok(())
}
