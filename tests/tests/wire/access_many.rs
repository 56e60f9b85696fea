//! 29: many grants that end at the same moment. The notices of their end are spread, so that renewals are; who renews lives on, who
//! does not is closed at once, and nobody misses an event.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::Access;
use eventcast_tests::{
    http::{Publish, Version, client},
    init_tracing,
    issuer::{Issuer, bearer},
    sse::{Event, EventStream, Subscribe},
    wire::BrokerWithNats,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use reqwest::Client;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// Subscribers. The first half renews; one in twelve uses HTTP/2.
const SUBSCRIBERS: usize = 1200;
/// Streams that are opened at the same time.
const OPENING: usize = 50;
/// How long tokens live that all end in the same second. The notice comes a fifth of a stream's life before that, or up to a tenth of
/// this fifth later.
const LIFE_SECONDS: i64 = 25;
/// The most notices in any tenth of the time over which they are spread. It would be a tenth if nothing else moved them; without
/// spreading, one tenth has them all.
const MAX_SHARE: f64 = 0.3;
const PUBLISH_INTERVAL: Duration = Duration::from_millis(300);
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Ends the numbered events.
const LAST: &str = "last";

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Two sockets for each subscriber need more files than some systems allow without being asked.
fn raise_file_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Tokens, and the times at which they end, in milliseconds since 1970.
struct Tokens {
    issuer: Issuer,
    end: i64,
}

impl Tokens {
    fn request(&self, broker: &BrokerWithNats, index: usize, token: &str) -> Subscribe {
        let version = if index.is_multiple_of(12) { Version::Http2 } else { Version::Http1 };
        let receive_buffer = (version == Version::Http1).then_some(64 << 10);
        let (url, headers) = (broker.events_url(""), vec![bearer(token)]);
        Subscribe { url, version, receive_buffer, headers, last_event_id: None }
    }

    fn first(&self, index: usize) -> String {
        self.issuer.token(&index.to_string(), LIFE_SECONDS, json!({"exp": self.end / 1000}))
    }

    fn next(&self, index: usize) -> String {
        self.issuer.token(&index.to_string(), 600, json!({}))
    }
}

/// What a subscriber has seen. Times are in milliseconds since 1970.
struct Seen {
    opened: i64,
    /// When the broker wrote the notice.
    notice: i64,
    /// When the closing arrived, if the stream was not renewed.
    closed: Option<i64>,
}

/// The number of the event is the one after `last`, if there was one before.
fn follows(last: &mut Option<u64>, event: &Event) -> Result<()> {
    let number: u64 = event.data.parse().with_context(|| format!("{:?}", event.raw))?;
    let before = last.replace(number);
    ensure!(before.is_none_or(|before| before + 1 == number), "{number} after {before:?}");
    Ok(())
}

/// Reads to the last event. Renews at the notice, or opens anew at the end with a new token.
async fn follow(
    tokens: Arc<Tokens>,
    broker: Arc<BrokerWithNats>,
    http: Client,
    (index, mut stream, opened): (usize, EventStream, i64),
) -> Result<Seen> {
    let renews = index < SUBSCRIBERS / 2;
    let (mut last, mut notice, mut closed) = (None, None, None);
    loop {
        let event = timeout(WAIT_TIMEOUT, stream.next()).await.context("nothing comes")??;
        let event = event.context("the stream ended without a closing event")?;
        match event.event_type.as_str() {
            "eventcast.cursor" => {}
            "eventcast.expiring" => {
                ensure!(notice.is_none(), "told twice: {}", event.data);
                let told: Value = event.json()?;
                let end: Timestamp = told["expires_at"].as_str().unwrap_or_default().parse()?;
                let left = told["in_ms"].as_i64().context("no time")?;
                ensure!((end.as_millisecond() - tokens.end).abs() < 100, "{told}");
                notice = Some(end.as_millisecond() - left);
                if renews {
                    let url = broker.url(told["renew"].as_str().context("no path")?);
                    let renewal = http.post(url).bearer_auth(tokens.next(index)).send().await?;
                    ensure!(
                        renewal.status() == 200,
                        "{}: {}",
                        renewal.status(),
                        renewal.text().await?
                    );
                }
            }
            "eventcast.closing" => {
                let data = event.json()?;
                ensure!(data["reason"] == "expired" && !renews && closed.is_none(), "{data}");
                closed = Some(now());
                // as a browser does
                sleep(Duration::from_millis(data["retry_ms"].as_u64().unwrap_or(0))).await;
                let last_event_id = stream.cursor().map(str::to_owned);
                let request = tokens.request(&broker, index, &tokens.next(index));
                stream = EventStream::open(Subscribe { last_event_id, ..request }).await?;
            }
            LAST => break,
            _ => follows(&mut last, &event)?,
        }
    }
    ensure!(renews != closed.is_some(), "its stream should have been closed");
    let notice = notice.context("it was not told of the end")?;
    Ok(Seen { opened, notice, closed })
}

/// The largest share of `values` that is in one tenth of the range from `from` to `to`.
fn largest_share(values: impl Iterator<Item = f64>, from: f64, to: f64) -> f64 {
    let (mut tenths, mut all) = ([0_u32; 10], 0);
    for value in values {
        let begins = |tenth: u32| from + (to - from) * f64::from(tenth) / 10.0;
        tenths[(1..10).filter(|tenth| value >= begins(*tenth)).count()] += 1;
        all += 1;
    }
    f64::from(tenths.into_iter().max().unwrap_or(0)) / f64::from(all.max(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g29_grants_that_end_together_make_no_stampede() -> Result<()> {
    init_tracing();
    raise_file_limit()?;
    let issuer = Issuer::new()?;
    let access = Access { tokens: vec![issuer.trusted()], ..Access::default() };
    let broker =
        BrokerWithNats::with_shards(2, |config| config.channels[0].access = access).await?;
    let broker = Arc::new(broker);
    let end = (Timestamp::now().as_second() + LIFE_SECONDS) * 1000;
    let tokens = Arc::new(Tokens { issuer, end });
    let opened: Vec<(usize, EventStream, i64)> = stream::iter(0..SUBSCRIBERS)
        .map(|index| {
            let request = tokens.request(&broker, index, &tokens.first(index));
            async move { anyhow::Ok((index, EventStream::open(request).await?, now())) }
        })
        .buffer_unordered(OPENING)
        .try_collect()
        .await?;
    ensure!(now() < end - LIFE_SECONDS * 500, "opening took half of the time");

    let http = client(Version::Http1);
    let mut subscribers = JoinSet::new();
    for opened in opened {
        subscribers.spawn(follow(Arc::clone(&tokens), Arc::clone(&broker), http.clone(), opened));
    }
    let (name, admin) = bearer(&tokens.issuer.admin());
    let publish = async |event: Publish| -> Result<()> {
        let answer = broker.send(&event.header(&name, &admin)).await?;
        ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
        Ok(())
    };
    // until the renewals and the returns are over
    for number in 0.. {
        publish(Publish::new(number.to_string())).await?;
        let left = u64::try_from(end + 5000 - now()).unwrap_or(0);
        if left == 0 {
            break;
        }
        sleep(PUBLISH_INTERVAL).await; // the pace of the publisher
    }
    publish(Publish::new("").kind(LAST)).await?;
    let seen: Result<Vec<Seen>> = subscribers.join_all().await.into_iter().collect();
    let seen = seen?;

    // Each notice comes in the last tenth of its own lead at the latest; where in it is random.
    let moments = seen.iter().map(|seen| {
        let lead = (end - seen.opened) as f64 / 5.0;
        (end - seen.notice) as f64 / lead
    });
    let late = moments.clone().filter(|moment| *moment < 0.88).count();
    ensure!(late * 10 < seen.len(), "{late} of {} notices came late", seen.len());
    let share = largest_share(moments, 0.9, 1.0);
    ensure!(share <= MAX_SHARE, "{share} of the notices came in a tenth of their time");
    let (first, last) = (seen.iter().map(|s| s.notice).min(), seen.iter().map(|s| s.notice).max());
    let (first, last) = (first.context("none")? as f64, last.context("none")? as f64);
    let share = largest_share(seen.iter().map(|seen| seen.notice as f64), first, last);
    eprintln!("notices within {} ms, {share} of them in one tenth", last - first);
    ensure!(share <= MAX_SHARE, "{share} of all notices came in a tenth of the time");

    let mut delays: Vec<i64> = seen.iter().filter_map(|seen| Some(seen.closed? - end)).collect();
    delays.sort_unstable();
    let (median, all) = (delays[delays.len() / 2], delays[0]..=delays[delays.len() - 1]);
    eprintln!("closed {all:?} ms after the end, half of them within {median} ms");
    ensure!(delays.len() == SUBSCRIBERS / 2 && *all.start() >= -100, "{all:?}");
    // The last ones are those that this machine has read last.
    ensure!(median <= 1000 && *all.end() <= 5000, "{median} {all:?}");
    Ok(())
}
