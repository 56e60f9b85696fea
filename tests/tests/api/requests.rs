//! Requests that are generated from the description: the broker answers all of them as it says.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_crds::config::{Action, ApiKeys};
use eventcast_tests::{
    access::make_key,
    broker::Broker,
    http::{Version, client},
    init_tracing,
    nats::NatsServer,
    process,
    wire::BrokerWithNats,
};

/// How long each run may take.
const RUN_TIMEOUT: Duration = Duration::from_secs(150);

#[tokio::test]
async fn the_admin_port_says_which_methods_it_has() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let refused = client(Version::Http1).post(broker.admin_url("/livez")).send().await?;
    ensure!(refused.status() == 405, "{}", refused.status());
    ensure!(refused.headers()["allow"] == "GET, HEAD", "{:?}", refused.headers());
    Ok(())
}

#[tokio::test]
async fn generated_requests_are_answered_as_described() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1m").await?;
    let keys = process::folder("eventcast-keys-")?;
    let grants = ["--manage", "--subscribe", ">", "--publish", ">", "--broadcast"];
    let key = make_key(keys.path(), "generated", &grants).await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.page = true;
        let channel = &mut config.channels[0];
        channel.access.anonymous = vec![Action::Subscribe, Action::Publish];
        channel.access.api_keys = Some(ApiKeys { folder: keys.path().to_owned() });
        channel.delivery.max_age_seconds = 2;
    })
    .await?;
    let key = format!("EVENTCAST_KEY={key}");
    let public = format!("EVENTCAST_URL={}", broker.url(""));
    let description = "../../docs/openapi.yaml";
    let arguments = ["run", description, "--no-color", "--exclude-tag", "admin"];
    super::run("schemathesis", &[&key, &public], &arguments, RUN_TIMEOUT).await?;
    let published = broker.metric("eventcast_publish_total", &[("outcome", "stored")]).await?;
    ensure!(published > 10.0, "only {published} events were stored");

    let admin = broker.admin_url("");
    let arguments = ["run", description, "--no-color", "--include-tag", "admin", "--url", &admin];
    super::run("schemathesis", &[&key, &public], &arguments, RUN_TIMEOUT).await
}
