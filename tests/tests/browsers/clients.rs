//! Real clients receive every event once and in order, from a broker that drains and from one that is killed. After a response
//! that ends them for good, exactly those clients stop of which `tests/clients/clients.json` says so.
//!
//! Each group of clients shares two brokers on one NATS server. The clients read from the first broker, which restarts on the
//! same port; the publisher publishes to the second without a pause. The groups run one after another, because the machine is
//! small.

mod publisher;
mod rust;
mod statuses;

use std::{future::ready, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Broker,
    clients::{Adapter, Client, Curl, Entry, entries},
    eventually, http, init_tracing,
    nats::NatsServer,
    process,
};

use publisher::{Publisher, TYPES};

/// Everyone has everything, a start of a browser or two waits for the reconnect included.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Clients that are started at once.
const MAX_CONCURRENT: usize = 4;
/// Events published while the broker is down: about 1.5 s, in which most clients knock in vain.
const EVENTS_WHILE_DOWN: usize = 80;

/// Starts one client: events of this URL, after this cursor, with files in this folder.
type Start = Box<dyn Fn(&str, &str, &Path) -> Result<Client>>;

fn adapter(entry: Entry) -> Start {
    Box::new(move |url, cursor, folder| {
        let types = format!("EVENT_TYPES={TYPES}");
        let child = Adapter::start(&entry, &[url, cursor], &[&types], folder)?;
        Ok(Client::new(&entry, child))
    })
}

fn curl(flags: &'static [&'static str]) -> Start {
    Box::new(move |url, cursor, folder| {
        let entry = Entry {
            name: format!("curl {}", flags.concat()),
            delivers_control: true,
            drops_partial_event: true,
            ..Entry::default()
        };
        Ok(Client::new(&entry, Curl::start(flags, url, cursor, folder)?))
    })
}

async fn until_all(
    what: &str,
    clients: &mut [Client],
    holds: impl Fn(&Client) -> bool,
) -> Result<()> {
    let outcome = eventually(what, WAIT_TIMEOUT, || {
        for client in &mut *clients {
            if let Err(error) = client.poll() {
                return ready(Ok(Err(error)));
            }
        }
        let waiting = clients.iter().find(|client| !holds(client));
        ready(match waiting {
            None => Ok(Ok(())),
            Some(c) if c.closed => {
                Ok(Err(anyhow::anyhow!("{} gave up: {:?}", c.entry.name, c.errors)))
            }
            Some(c) => Err(format!(
                "{}: {} events, opened {} times, {:?}, {:?}",
                c.entry.name,
                c.events.len(),
                c.opens,
                c.errors,
                c.control.last(),
            )),
        })
    });
    outcome.await?
}

/// The scenario, with one group of clients.
async fn see_everything(starts: Vec<Start>) -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-clients-")?;
    let nats = NatsServer::start().await?;
    let stays = Broker::start(&nats.url(), |_| {}).await?;
    let mut goes = Broker::start(&nats.url(), |config| {
        config.channels[0].delivery.retry_milliseconds = 1000;
    })
    .await?;
    let before = http::publish(&stays.events_url(""), "before", &[]).await?;
    let before = before.cursor().context("no cursor")?.to_owned();
    let publisher = Publisher::start(&stays.events_url(""));

    let mut clients: Vec<Client> = Vec::new();
    for some in starts.chunks(MAX_CONCURRENT) {
        let from = clients.len();
        for start in some {
            clients.push(start(&goes.events_url(""), &before, folder.path())?);
        }
        until_all("a first event", &mut clients[from..], |c| !c.events.is_empty()).await?;
    }
    let has = |id: String| move |c: &Client| c.events.iter().rev().any(|event| event.id == id);
    until_all("everything so far", &mut clients, has(publisher.newest())).await?;

    goes.terminate()?;
    goes.wait_exit(WAIT_TIMEOUT).await?;
    pass(&publisher, EVENTS_WHILE_DOWN).await?;
    goes.restart().await?;
    until_all("what came after the drain", &mut clients, has(publisher.newest())).await?;

    goes.kill9()?;
    pass(&publisher, EVENTS_WHILE_DOWN).await?;
    goes.restart().await?;
    until_all("what came after the kill", &mut clients, has(publisher.newest())).await?;

    let published = publisher.stop().await?;
    let last = published.0.last().context("nothing was published")?.id.clone();
    until_all("the last event", &mut clients, has(last)).await?;
    for client in clients {
        published.compare(&client, 2)?;
        check(&client)?;
        client.end().await?;
    }
    Ok(())
}

/// Waits until this many more events are published.
async fn pass(publisher: &Publisher, events: usize) -> Result<()> {
    let goal = publisher.count() + events;
    eventually("the publisher goes on", WAIT_TIMEOUT, || {
        ready((publisher.count() >= goal).then_some(()))
    })
    .await
}

/// What else the table says of a client that came through.
fn check(client: &Client) -> Result<()> {
    let Client { entry, control, opens, errors, closed, .. } = client;
    let name = &entry.name;
    ensure!(!closed, "{name} gave up: {errors:?}");
    if entry.tells_open {
        ensure!(*opens >= 3, "{name} opened {opens} times: {errors:?}");
    }
    let draining = control
        .iter()
        .filter(|event| event.event_type == "eventcast.closing" && event.data.contains("draining"));
    let (told, expected) = (draining.count(), usize::from(entry.delivers_control));
    // one that does not wait comes back while the broker drains, and is told again
    let told_once = told == expected || (entry.retry == "ignores" && told > expected);
    ensure!(told_once, "{name} was told of the drain: {control:?}");
    let gap = control.iter().find(|event| event.event_type == "eventcast.gap");
    ensure!(gap.is_none(), "{name} was told of a gap: {gap:?}");
    Ok(())
}

#[tokio::test]
async fn the_clients_for_node_see_everything_once() -> Result<()> {
    see_everything(entries("node")?.into_iter().map(adapter).collect()).await
}

#[tokio::test]
async fn the_clients_for_python_see_everything_once() -> Result<()> {
    see_everything(entries("python")?.into_iter().map(adapter).collect()).await
}

#[tokio::test]
async fn browsers_see_everything_once() -> Result<()> {
    see_everything(entries("browser")?.into_iter().map(adapter).collect()).await
}

#[tokio::test]
async fn the_clients_for_rust_and_go_and_curl_see_everything_once() -> Result<()> {
    let reqwest: Start = Box::new(|url, cursor, _| {
        let (entry, lines) = rust::reqwest(&format!("{url}?lastEventId={cursor}"));
        Ok(Client::new(&entry, lines))
    });
    let launchdarkly: Start = Box::new(|url, cursor, _| {
        let (entry, lines) = rust::launchdarkly(url, cursor);
        Ok(Client::new(&entry, lines))
    });
    let curls = [curl(&[]), curl(&["--http1.0"]), curl(&["--http2-prior-knowledge"])];
    let go = entries("go")?.into_iter().map(adapter);
    see_everything([reqwest, launchdarkly].into_iter().chain(curls).chain(go).collect()).await
}
