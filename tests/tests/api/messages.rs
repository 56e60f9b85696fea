//! The examples of messages that applications publish straight to NATS: each becomes an event.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::HeaderMap;
use eventcast_tests::{
    eventually,
    http::{Answer, Version, client},
    wire::BrokerWithNats,
};
use serde_json::Value;

const WAIT: Duration = Duration::from_secs(5);

/// The text of a string, and that of any other JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[tokio::test]
async fn every_example_for_nats_becomes_an_event() -> Result<()> {
    let broker = BrokerWithNats::start(|config| config.nats.create_streams = true).await?;
    let document = super::document("asyncapi.yaml")?;
    let target = |value: &Value| -> Result<Value> {
        let target = value["$ref"].as_str().context("no reference")?;
        Ok(document.pointer(target.trim_start_matches('#')).context("no target")?.clone())
    };
    let nats = broker.nats.jetstream().await?;
    let mut published = Vec::new();
    for (name, channel) in document["channels"].as_object().context("channels")? {
        if name == "stream" {
            continue;
        }
        let mut subject = channel["address"].as_str().context("no address")?.to_owned();
        for (parameter, reference) in channel["parameters"].as_object().context("parameters")? {
            let example = text(&target(reference)?["examples"][0]);
            subject = subject.replace(&format!("{{{parameter}}}"), &example);
        }
        for message in channel["messages"].as_object().context("messages")?.values() {
            for example in target(message)?["examples"].as_array().context("examples")? {
                let mut headers = HeaderMap::new();
                for (name, value) in example["headers"].as_object().into_iter().flatten() {
                    // each example is sent to several subjects, and no duplicate of itself
                    if name != "Nats-Msg-Id" {
                        headers.append(name.as_str(), text(value).as_str());
                    }
                }
                let payload = text(&example["payload"]);
                let ack = nats.publish_with_headers(subject.clone(), headers, payload.into());
                ack.await?.await?;
                published.push(subject.clone());
            }
        }
    }
    ensure!(published.len() == 6, "{published:?}");
    let url = broker.events_url("");
    // What is published directly to NATS is in the history once this broker has read it.
    let page = eventually("all events are in the history", WAIT, || async {
        let get = client(Version::Http1).get(&url).header("Accept", "application/json");
        let page = Answer::read(get.send().await?).await?.json;
        let found = page["events"].as_array().map_or(0, Vec::len);
        ensure!(found == published.len(), "{published:?}: {page}");
        Ok(page)
    })
    .await?;
    let events = page["events"].as_array().context("no events")?;
    for event in events {
        ensure!(event["type"] == "order.paid" && event["source"] == "/shop", "{event}");
    }
    ensure!(page["gap"].is_null(), "{page}");
    Ok(())
}
