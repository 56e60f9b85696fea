//! A publisher of the ledger: publishes numbered events and repeats each one until its outcome is known.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use reqwest::Client;
use tokio::time::sleep;

use super::{END_TYPE, Phase, PublishOutcome, Published, Shared, plan};
use crate::http::{Outcome, Publish, Version, client};

/// Publishes until the run ends.
pub(super) async fn run(shared: Arc<Shared>, index: usize) {
    let mut rng = shared.plan.rng(1, index);
    let mut phase = shared.phase.subscribe();
    let http2 = shared.plan.http2 > 0.0 && index.is_multiple_of(4);
    let client = client(if http2 { Version::Http2 } else { Version::Http1 });
    loop {
        let (topic, kind) = (plan::random_topic(&mut rng), plan::random_type(&mut rng));
        let padding = rng.usize(..=shared.plan.padding);
        publish(&shared, &client, topic, kind, padding).await;
        // The pace of the publisher.
        let pause = plan::exponential(&mut rng, shared.plan.publish_every);
        tokio::select! {
            () = sleep(pause) => {}
            ended = phase.wait_for(|phase| *phase != Phase::Running) => {
                drop(ended);
                return;
            }
        }
    }
}

/// Publishes the event that ends the run, and returns its cursor.
pub(super) async fn end(shared: &Shared) -> Result<String> {
    let kind = Some(END_TYPE.to_owned());
    match publish(shared, &client(Version::Http1), None, kind, 0).await {
        PublishOutcome::Stored(cursor) => Ok(cursor),
        other => bail!("the last event of the ledger was not acknowledged: {other:?}"),
    }
}

async fn publish(
    shared: &Shared,
    client: &Client,
    topic: Option<String>,
    kind: Option<String>,
    padding: usize,
) -> PublishOutcome {
    let logs = shared.logs.read().await; // waits while publishing is paused
    let began = shared.began.elapsed();
    let number = {
        let mut published = shared.published.lock();
        let (number, log) = (published.len() as u64, logs.cuts.len());
        let (topic, kind) = (topic.clone(), kind.clone());
        published.push(Published {
            number,
            topic,
            kind,
            began,
            log,
            outcome: PublishOutcome::Unknown,
        });
        number
    };
    let data = serde_json::json!({"number": number, "topic": topic, "type": kind, "padding": "x".repeat(padding)});
    let mut event =
        Publish::new(data.to_string()).key(&format!("ledger-{:x}-{number}", shared.run));
    if let Some(topic) = &topic {
        event = event.topic(topic);
    }
    if let Some(kind) = &kind {
        event = event.kind(kind);
    }
    let within: Duration = shared.plan.publish_within;
    let outcome = match event.send_retrying(client, &shared.urls, within).await {
        Outcome::Stored { cursor, .. } => PublishOutcome::Stored(cursor),
        Outcome::Unknown => PublishOutcome::Unknown,
        Outcome::NotStored => PublishOutcome::NotStored,
        // The ledger violates no rule of the API.
        Outcome::Refused(answer) => {
            panic!("event {number} refused: {} {}", answer.status, answer.json)
        }
    };
    let at = usize::try_from(number).expect("it is an index");
    shared.published.lock()[at].outcome = outcome.clone();
    outcome
}
