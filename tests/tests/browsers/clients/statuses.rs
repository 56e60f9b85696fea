//! What each client does after a response that is no event stream: exactly what the table says.

use std::{future::ready, time::Duration};

use anyhow::{Result, bail, ensure};
use eventcast_crds::config::Overload;
use eventcast_tests::{
    broker::Broker,
    clients::{Adapter, After, Client, Entry, Stub, entries},
    eventually,
    http::{Version, client},
    init_tracing,
    nats::NatsServer,
    process,
    sse::EventStream,
};

use super::rust;

/// The start of a process, and the wait for the reconnect: up to 5 s.
const WAIT_TIMEOUT: Duration = Duration::from_secs(25);
/// Clients that are tried at once, each with every answer.
const MAX_CONCURRENT: usize = 4;

/// An answer, and what each client is to make of it.
struct Answer {
    stub: Stub,
    row: fn(&After) -> &str,
}

impl Answer {
    /// What the broker answers at `url`.
    async fn at(url: &str, row: fn(&After) -> &str) -> Result<Self> {
        let ask = client(Version::Http1).get(url).header("Accept", "text/event-stream");
        Ok(Self { stub: Stub::of(ask.send().await?).await?, row })
    }

    async fn is_taken_as_the_table_says(&self, mut client: Client) -> Result<()> {
        let (name, status) = (client.entry.name.clone(), self.stub.status());
        let what = format!("{name} stops or returns after {status}");
        let does =
            eventually(&what, WAIT_TIMEOUT, || ready(verdict(&mut client, self.stub.count(&name))));
        let (does, should) = (does.await?, (self.row)(&client.entry.after));
        let requests = self.stub.count(&name);
        ensure!(
            does == should,
            "{name} {does} after {status}, the table says {should}: {:?}",
            client.errors
        );
        ensure!(does == "returns" || requests == 1, "{name} stopped after {requests} requests");
        client.end().await
    }
}

fn verdict(client: &mut Client, requests: usize) -> Result<&'static str> {
    client.poll()?;
    match (client.closed, requests) {
        (true, _) => Ok("stops"),
        (false, 2..) => Ok("returns"),
        _ => bail!("{requests} requests, {:?}", client.errors),
    }
}

/// The answers of a broker, and one that only somebody in between gives.
async fn answers() -> Result<[Answer; 3]> {
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.limits.subscribers = 1;
        config.limits.overload = Overload::Status;
    })
    .await?;
    let missing = broker.url("/channels/default/nowhere/events");
    let missing = Answer::at(&missing, |after| &after.client_error).await?;
    let _only = EventStream::connect(&broker.events_url(""), None).await?;
    let full = Answer::at(&broker.events_url(""), |after| &after.server_error).await?;
    ensure!((missing.stub.status(), full.stub.status()) == (404, 503));
    let empty = Answer { stub: Stub::empty(204).await?, row: |after| &after.no_content };
    Ok([missing, full, empty])
}

#[tokio::test]
async fn after_a_response_without_a_stream_clients_stop_or_retry_as_the_table_says() -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-statuses-")?;
    let answers = answers().await?;
    for answer in &answers {
        let (entry, lines) = rust::reqwest(&answer.stub.url("rust-reqwest-eventsource"));
        answer.is_taken_as_the_table_says(Client::new(&entry, lines)).await?;
        let (entry, lines) = rust::launchdarkly(&answer.stub.url("rust-eventsource-client"), "");
        answer.is_taken_as_the_table_says(Client::new(&entry, lines)).await?;
    }
    for some in everyone()?.chunks(MAX_CONCURRENT) {
        let mut tried = Vec::new();
        for (answer, entry) in answers.iter().flat_map(|a| some.iter().map(move |e| (a, e))) {
            let folder = folder.path().join(answer.stub.status().to_string());
            let child = Adapter::start(entry, &[&answer.stub.url(&entry.name)], &[], &folder)?;
            tried.push((answer, Client::new(entry, child)));
        }
        for (answer, client) in tried {
            answer.is_taken_as_the_table_says(client).await?;
        }
    }
    Ok(())
}

/// Every adapter.
fn everyone() -> Result<Vec<Entry>> {
    let mut all = Vec::new();
    for language in ["go", "node", "python", "browser"] {
        all.extend(entries(language)?);
    }
    Ok(all)
}
