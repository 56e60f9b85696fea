//! Credentials for NATS that change while a broker runs.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Version, client, publish},
    init_tracing,
    nats::NatsServer,
    process,
};

const FIRST: &str = "pw-one-7f3a";
const SECOND: &str = "pw-two-9c1e";
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A file that changed is used at the next reconnect, without a restart.
#[tokio::test]
async fn a_changed_password_is_used_at_the_next_reconnect() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start_with("1m").await?;
    nats.restart_with_password("app", FIRST).await?;
    let folder = process::folder("eventcast-password-")?;
    let file = folder.path().join("password");
    fs::write(&file, FIRST)?;
    let broker = Broker::start(&nats.url(), |config| {
        config.nats.user = Some("app".into());
        config.nats.password_file = Some(file.clone());
    })
    .await?;
    let answer = publish(&broker.events_url(""), "with the first", &[]).await?;
    assert_eq!(answer.status, 201, "{answer:?}");

    nats.restart_with_password("app", SECOND).await?;
    fs::write(&file, format!("{SECOND}\n"))?;
    eventually("a publish", WAIT_TIMEOUT, || async {
        let answer = publish(&broker.events_url(""), "with the second", &[]).await?;
        ensure!(answer.status == 201, "{answer:?}");
        anyhow::Ok(())
    })
    .await?;
    let metrics = client(Version::Http1).get(broker.admin_url("/metrics")).send().await?;
    let said = metrics.text().await? + &broker.log();
    ensure!(!said.contains(FIRST) && !said.contains(SECOND), "a password was told");
    Ok(())
}
