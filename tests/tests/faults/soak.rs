//! A soak test: for half an hour, channels with retention by age, by number and by bytes are purged, erased from, and served by
//! brokers that are killed. Nothing is served more than two seconds after the log has dropped it, and the ledger balances.
//!
//! `make soak` runs it; `SOAK_SECONDS` makes it shorter. It is not part of `make test`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::Stream;
use eventcast_crds::config::{BrokerConfig, ChannelConfig};
use eventcast_tests::{
    broker::{Broker, open_channel},
    cursor::Cursor,
    http::{Answer, Version, client},
    init_tracing,
    issuer::Issuer,
    ledger::{Ledger, Plan},
    nats::NatsServer,
    sse::EventStream,
};
use fastrand::Rng;
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

const FORGET_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the log is asked what it has dropped.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const CHANNELS: [&str; 3] = ["age", "number", "bytes"];

/// When the log was known to have dropped what.
#[derive(Default)]
struct Dropped {
    beginnings: Vec<(Instant, u64)>,
    deleted: HashMap<u64, Instant>,
}

impl Dropped {
    /// Why a response to a request sent at `asked` must not contain `sequence`.
    fn forbids(&self, sequence: u64, asked: Instant) -> Option<String> {
        let until = asked.checked_sub(FORGET_TIMEOUT)?;
        let first = self.beginnings.iter().rev().find(|(at, _)| *at <= until)?.1;
        if sequence < first {
            return Some(format!("{sequence} lies before {first}"));
        }
        let deleted = self.deleted.get(&sequence).filter(|at| **at <= until)?;
        Some(format!("{sequence} was deleted {:?} before it was asked for", asked - *deleted))
    }
}

/// One channel of the soak.
struct Soaked {
    name: &'static str,
    log: Stream,
    urls: Vec<String>,
    dropped: Mutex<Dropped>,
    /// Events that readers got and that were compared.
    compared: Mutex<u64>,
    offences: Mutex<Vec<String>>,
}

impl Soaked {
    /// Notes what the log has dropped by now.
    async fn note(&self) -> Result<()> {
        let info = self.log.info_builder().with_deleted(true).fetch().await?;
        let state = info.info.state;
        let now = Instant::now();
        let mut dropped = self.dropped.lock();
        dropped.beginnings.push((now, state.first_sequence));
        for sequence in state.deleted.unwrap_or_default() {
            dropped.deleted.entry(sequence).or_insert(now);
        }
        Ok(())
    }

    fn compare(&self, what: &str, asked: Instant, cursors: &[String]) -> Result<()> {
        *self.compared.lock() += cursors.len() as u64;
        for cursor in cursors {
            let sequence = Cursor::parse(cursor)?.sequence;
            if let Some(why) = self.dropped.lock().forbids(sequence, asked) {
                self.offences.lock().push(format!("{}, {what}: {why}", self.name));
            }
        }
        Ok(())
    }

    /// A page of history, from either end; and what a newcomer is given. A broker that is down gives nothing.
    async fn read(&self, url: &str, rng: &mut Rng) -> Result<()> {
        let order = if rng.bool() { "asc" } else { "desc" };
        let asked = Instant::now();
        let request = client(Version::Http1)
            .get(format!("{url}?limit=1000&order={order}"))
            .header("Accept", "application/json");
        if let Ok(response) = request.send().await {
            let answer = Answer::read(response).await?;
            let events = answer.json["events"].as_array().cloned().unwrap_or_default();
            let cursors = events.iter().filter_map(|e| Some(e["cursor"].as_str()?.to_owned()));
            self.compare("history", asked, &cursors.collect::<Vec<_>>())?;
        }
        let from = ["earliest", "last:200", "-1m"][rng.usize(..3)];
        let asked = Instant::now();
        let Ok(mut stream) = EventStream::connect(&format!("{url}?from={from}"), None).await else {
            return Ok(());
        };
        let mut cursors = Vec::new();
        while let Ok(Ok(Some(event))) = timeout(POLL_INTERVAL, stream.next()).await {
            if !event.is_control() {
                cursors.extend(event.id);
            }
            if asked.elapsed() > Duration::from_secs(5) {
                break;
            }
        }
        self.compare(from, asked, &cursors)
    }
}

/// Something that drops events; gives the name of it.
async fn drop_something(soaked: &Soaked, ledger: &Ledger, rng: &mut Rng) -> Result<&'static str> {
    // Nothing is published meanwhile, so that it is known exactly what was erased.
    let _paused = ledger.pause().await;
    let before = deleted(&soaked.log).await?;
    let url = &soaked.urls[rng.usize(..soaked.urls.len())];
    let way = match rng.u8(..10) {
        0 => {
            soaked.log.purge().await?;
            "purge"
        }
        1 => {
            soaked.log.purge().keep(rng.u64(1..100)).await?;
            "purge but the newest"
        }
        2..=4 => {
            let topic = ["user.1", "user.42", "orders.*.paid", "a.%3E"][rng.usize(..4)];
            erase(&format!("{url}?topic={topic}")).await?;
            "erase a topic"
        }
        5..=7 => {
            for cursor in some_cursors(url, rng).await? {
                erase(&format!("{url}/{cursor}")).await?;
            }
            "erase some"
        }
        _ => {
            let state = soaked.log.get_info().await?.state;
            for _ in 0..20 {
                let sequence =
                    rng.u64(state.first_sequence..=state.last_sequence.max(state.first_sequence));
                // It may be gone already.
                drop(soaked.log.delete_message(sequence).await);
            }
            "delete some"
        }
    };
    let after = deleted(&soaked.log).await?;
    ledger.erased(&after.difference(&before).copied().collect());
    Ok(way)
}

async fn deleted(log: &Stream) -> Result<HashSet<u64>> {
    let info = log.info_builder().with_deleted(true).fetch().await?;
    Ok(info.info.state.deleted.unwrap_or_default().into_iter().collect())
}

async fn erase(url: &str) -> Result<()> {
    let Ok(response) = client(Version::Http1).delete(url).send().await else { return Ok(()) };
    let answer = Answer::read(response).await?;
    ensure!([204, 404, 503].contains(&answer.status), "{} {}", answer.status, answer.json);
    Ok(())
}

async fn some_cursors(url: &str, rng: &mut Rng) -> Result<Vec<String>> {
    let request =
        client(Version::Http1).get(format!("{url}?limit=500")).header("Accept", "application/json");
    let Ok(response) = request.send().await else { return Ok(Vec::new()) };
    let answer = Answer::read(response).await?;
    let events = answer.json["events"].as_array().cloned().unwrap_or_default();
    let picked = events.iter().filter(|_| rng.u8(..50) == 0);
    Ok(picked.filter_map(|e| Some(e["cursor"].as_str()?.to_owned())).collect())
}

fn channel(name: &str) -> ChannelConfig {
    let mut channel = open_channel("default", name);
    match name {
        "age" => {
            channel.retention.max_age_seconds = 10;
            channel.retention.duplicate_window_seconds = 10;
        }
        "number" => channel.retention.max_events = 700,
        _ => channel.retention.max_bytes = 300_000,
    }
    channel
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half an hour: make soak"]
async fn events_that_the_log_has_dropped_are_never_served() -> Result<()> {
    init_tracing();
    let seconds = std::env::var("SOAK_SECONDS").ok().map_or(Ok(1800), |text| text.parse())?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let (nats, issuer) = (NatsServer::start_with("1s").await?, Arc::new(Issuer::new()?));
    let mut brokers = Vec::new();
    for tail in [65_536, 64] {
        let config = |config: &mut BrokerConfig| {
            config.memory.tail_events = tail;
            config.channels = CHANNELS.iter().map(|name| channel(name)).collect();
            for channel in &mut config.channels {
                channel.access.tokens = vec![issuer.trusted()];
            }
        };
        brokers.push(Broker::start(&nats.url(), config).await?);
    }
    let (mut soaked, mut ledgers, mut readers) = (Vec::new(), Vec::new(), JoinSet::new());
    for name in CHANNELS {
        let log = nats.jetstream().await?.get_stream(format!("SSE_default_{name}")).await?;
        let of = |broker: &Broker| broker.url(&format!("/channels/default/{name}/events"));
        let urls: Vec<_> = brokers.iter().map(of).collect();
        let plan = Plan {
            subscribers: 20,
            publishers: 3,
            retained: false,
            issuer: Some(Arc::clone(&issuer)),
            ..Plan::default()
        };
        ledgers.push(Ledger::start(plan, urls.clone()));
        let one = Arc::new(Soaked {
            name,
            log,
            urls,
            dropped: Mutex::default(),
            compared: Mutex::default(),
            offences: Mutex::default(),
        });
        let noted = Arc::clone(&one);
        readers.spawn(async move {
            while Instant::now() < until {
                noted.note().await?;
                sleep(POLL_INTERVAL).await;
            }
            anyhow::Ok(())
        });
        for url in one.urls.clone() {
            let read = Arc::clone(&one);
            readers.spawn(async move {
                let mut rng = Rng::new();
                while Instant::now() < until {
                    read.read(&url, &mut rng).await?;
                }
                Ok(())
            });
        }
        soaked.push(one);
    }
    let (mut rng, mut done) = (Rng::new(), HashMap::<&str, u32>::new());
    while Instant::now() < until {
        sleep(Duration::from_millis(rng.u64(500..4000))).await;
        let at = rng.usize(..CHANNELS.len());
        let what = if rng.u8(..8) == 0 {
            brokers[rng.usize(..2)].restart().await?;
            "restart of a broker"
        } else {
            drop_something(&soaked[at], &ledgers[at], &mut rng).await?
        };
        *done.entry(what).or_default() += 1;
    }
    while let Some(ended) = readers.join_next().await {
        ended.context("a reader failed")??;
    }
    eprintln!("soak: {done:?}");
    for (one, ledger) in soaked.iter().zip(ledgers) {
        let report = ledger.finish(WAIT_TIMEOUT).await?;
        let (compared, offences) = (*one.compared.lock(), one.offences.lock().clone());
        eprintln!("soak: {}: {compared} events compared", one.name);
        ensure!(
            offences.is_empty(),
            "{}: {:#?}",
            offences.len(),
            &offences[..offences.len().min(20)]
        );
        ensure!(compared > 0, "nothing was read");
        report.assert_clean();
    }
    Ok(())
}
