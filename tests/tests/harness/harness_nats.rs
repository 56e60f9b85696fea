//! The NATS harness against the real nats-server: what the fault suites rely on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{Context, stream};
use eventcast_tests::{
    eventually,
    nats::{NatsCluster, NatsServer},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn create(jetstream: &Context, replicas: usize) -> Result<()> {
    let config = stream::Config {
        name: "S".to_owned(),
        subjects: vec!["s.>".to_owned()],
        num_replicas: replicas,
        ..stream::Config::default()
    };
    jetstream.create_stream(config).await?;
    Ok(())
}

async fn publish(jetstream: &Context, text: &'static str) -> Result<u64> {
    Ok(jetstream.publish("s.a", text.into()).await?.await?.sequence)
}

async fn last(jetstream: &Context) -> Result<u64> {
    Ok(jetstream.get_stream("S").await?.cached_info().state.last_sequence)
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_store_on_its_port() -> Result<()> {
    let mut server = NatsServer::start().await?;
    let url = server.url();
    let jetstream = server.jetstream().await?;
    create(&jetstream, 1).await?;
    assert_eq!(publish(&jetstream, "one").await?, 1);
    server.kill9()?;
    assert!(server.client().await.is_err(), "dead");
    server.restart().await?;
    assert_eq!(server.url(), url);
    let stream = server.jetstream().await?.get_stream("S").await?;
    assert_eq!(stream.get_raw_message(1).await?.payload, "one");
    Ok(())
}

#[tokio::test]
async fn a_paused_server_is_silent_and_a_terminated_one_ends() -> Result<()> {
    let mut server = NatsServer::start().await?;
    let client = server.client().await?;
    server.pause()?;
    let flush = tokio::time::timeout(Duration::from_millis(300), client.flush()).await;
    let info = async_nats::jetstream::new(client.clone()).query_account().await;
    assert!(info.is_err(), "it answered while it was stopped ({flush:?})");
    server.resume()?;
    let jetstream = server.jetstream().await?;
    eventually("it answers again", WAIT_TIMEOUT, || jetstream.query_account()).await?;
    server.terminate().await?;
    assert!(server.process().is_none());
    Ok(())
}

#[tokio::test]
async fn an_older_store_can_be_put_back() -> Result<()> {
    let mut server = NatsServer::start().await?;
    let jetstream = server.jetstream().await?;
    create(&jetstream, 1).await?;
    publish(&jetstream, "one").await?;
    assert!(server.snapshot().is_err(), "it runs");
    server.kill9()?;
    let snapshot = server.snapshot()?;
    server.restart().await?;
    let jetstream = server.jetstream().await?;
    publish(&jetstream, "two").await?;
    assert_eq!(last(&jetstream).await?, 2);
    server.kill9()?;
    server.restore(&snapshot)?;
    server.restart().await?;
    assert_eq!(last(&server.jetstream().await?).await?, 1);
    server.kill9()?;
    server.wipe()?;
    server.restart().await?;
    assert!(server.jetstream().await?.get_stream("S").await.is_err(), "nothing is left");
    Ok(())
}

#[tokio::test]
async fn a_server_leaves_when_it_is_a_lame_duck() -> Result<()> {
    let server = NatsServer::start().await?;
    server.lame_duck()?;
    eventually("it takes no more clients", WAIT_TIMEOUT, || async {
        ensure!(server.client().await.is_err(), "it does");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_cluster_survives_the_loss_of_its_leader() -> Result<()> {
    let mut cluster = NatsCluster::start(3).await?;
    assert_eq!(cluster.urls().len(), 3);
    let jetstream = cluster.jetstream().await?;
    create(&jetstream, 3).await?;
    assert_eq!(publish(&jetstream, "one").await?, 1);
    cluster.in_sync("S", WAIT_TIMEOUT).await?;

    let first = cluster.leader("S").await?;
    cluster.stepdown("S").await?;
    let second = eventually("another node leads", WAIT_TIMEOUT, || async {
        let leader = cluster.leader("S").await?;
        ensure!(leader != first, "still the old one");
        Ok(leader)
    })
    .await?;

    cluster.kill9(second)?;
    let third = eventually("a survivor leads", WAIT_TIMEOUT, || async {
        let leader = cluster.leader("S").await?;
        ensure!(leader != second, "the dead one");
        Ok(leader)
    })
    .await?;
    let jetstream = cluster.nodes()[third].jetstream().await?;
    assert_eq!(last(&jetstream).await.context("the leader answers")?, 1);

    cluster.restart(second).await?;
    cluster.in_sync("S", WAIT_TIMEOUT).await?;
    cluster.pause(first)?;
    cluster.resume(first)?;
    cluster.in_sync("S", WAIT_TIMEOUT).await
}
