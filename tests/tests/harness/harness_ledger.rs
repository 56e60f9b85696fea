//! The whole ledger against a small broker in memory that can be told to misbehave. The ledger must find every fault, and must
//! report none if there is none. Only this test uses a fake broker; the other suites use the real one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use eventcast_tests::{
    filter::Filter,
    ledger::{Ledger, LedgerReport, Offence, Plan},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the broker does wrong, with its twentieth event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    Lose,
    Repeat,
    Swap,
    IgnoreFilters,
    Forge,
    /// A stream tells no cursor before its first event.
    TellNoCursor,
    /// Every stream begins with what comes.
    IgnoreStarts,
}

const BAD: usize = 20;

struct Stored {
    topic: Option<String>,
    kind: Option<String>,
    data: String,
    at: jiff::Timestamp,
}

struct Fake {
    wrong: Wrong,
    log: Mutex<(Vec<Stored>, HashMap<String, usize>)>,
    head: watch::Sender<usize>,
}

/// The sequence of a cursor.
fn sequence(cursor: &str) -> Option<usize> {
    cursor.strip_prefix("fake-")?.strip_suffix("-x")?.parse().ok()
}

impl Fake {
    /// How many events lie before a start.
    fn begins(&self, from: &str, filter: &Filter) -> usize {
        let log = &self.log.lock().0;
        let since = |time| log.partition_point(|stored| stored.at < time);
        if let Some(seconds) = from.strip_prefix('-').and_then(|text| text.strip_suffix('s')) {
            let ago = Duration::from_secs(seconds.parse().unwrap_or(0));
            return since(jiff::Timestamp::now() - ago);
        }
        if let Some(n) = from.strip_prefix("last:") {
            let passes = |s: &Stored| filter.passes(s.topic.as_deref(), s.kind.as_deref());
            let newest = (0..log.len()).rev().filter(|at| passes(&log[*at]));
            return newest.take(n.parse().unwrap_or(0)).last().unwrap_or(log.len());
        }
        match (from, sequence(from), from.parse::<jiff::Timestamp>()) {
            ("earliest", ..) => 0,
            (_, Some(sequence), _) => sequence,
            (_, _, Ok(time)) => since(time),
            _ => log.len(),
        }
    }
}

/// Serves one request per connection.
async fn serve(fake: Arc<Fake>, stream: TcpStream) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut headers) = (String::new(), HashMap::new());
    stream.read_line(&mut line).await?;
    let mut words = line.split(' ');
    let (method, target) = (words.next(), words.next().context("no target")?);
    let url = reqwest::Url::parse(&format!("http://fake{target}"))?;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if method == Some("POST") {
        let mut body = vec![0; headers["content-length"].parse()?];
        stream.read_exact(&mut body).await?;
        return publish(&fake, &mut stream, &url, &headers["idempotency-key"], body).await;
    }
    let values = |name: &str| {
        let pairs = url.query_pairs().filter(|(key, _)| key == name);
        pairs.map(|(_, value)| value.into_owned()).collect::<Vec<_>>()
    };
    let filter = Filter { topics: values("topic"), types: values("type") };
    let resumed = headers.get("last-event-id").and_then(|id| sequence(id));
    let from = values("from").pop().unwrap_or_default();
    let start = match resumed {
        Some(sequence) => sequence,
        None if fake.wrong == Wrong::IgnoreStarts => *fake.head.borrow(),
        None => fake.begins(&from, &filter),
    };
    subscribe(&fake, &mut stream, &filter, start).await
}

async fn publish(
    fake: &Fake,
    stream: &mut BufReader<TcpStream>,
    url: &reqwest::Url,
    key: &str,
    body: Vec<u8>,
) -> Result<()> {
    let value = |name: &str| {
        let mut pairs = url.query_pairs().filter(|(key, _)| key == name);
        pairs.next().map(|(_, value)| value.into_owned())
    };
    let (topic, kind, data) = (value("topic"), value("type"), String::from_utf8(body)?);
    let sequence = {
        let mut log = fake.log.lock();
        let next = log.0.len() + 1;
        let sequence = *log.1.entry(key.to_owned()).or_insert(next);
        if sequence == next {
            log.0.push(Stored { topic, kind, data, at: jiff::Timestamp::now() });
            fake.head.send_replace(next);
        }
        sequence
    };
    let answer = format!("{{\"cursor\":\"fake-{sequence}-x\",\"duplicate\":false}}");
    let head = format!(
        "HTTP/1.1 201 Created\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    );
    // one answer in thirty is lost on its way
    if fastrand::usize(..30) > 0 {
        stream.write_all(head.as_bytes()).await?;
    }
    Ok(())
}

async fn subscribe(
    fake: &Fake,
    stream: &mut BufReader<TcpStream>,
    filter: &Filter,
    start: usize,
) -> Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let cursor = format!("fake-{start}-x");
    let told =
        format!("event: eventcast.cursor\ndata: {{\"cursor\":\"{cursor}\"}}\nid: {cursor}\n\n");
    let told = if fake.wrong == Wrong::TellNoCursor { "" } else { &told };
    let first = format!("{head}retry: 100\n:\n\n{told}");
    stream.write_all(first.as_bytes()).await?;
    let mut news = fake.head.subscribe();
    for at in start.. {
        news.wait_for(|head| *head > at).await?;
        let sent = match (fake.wrong, at) {
            (Wrong::Lose, BAD) => vec![],
            (Wrong::Repeat, BAD) => vec![at, at],
            (Wrong::Swap, BAD) => vec![at, at - 1],
            _ => vec![at],
        };
        for at in sent {
            let frame = {
                let log = fake.log.lock();
                let Stored { topic, kind, data, .. } = &log.0[at];
                let passes = filter.passes(topic.as_deref(), kind.as_deref());
                if !passes && fake.wrong != Wrong::IgnoreFilters {
                    continue;
                }
                let forged = fake.wrong == Wrong::Forge && at == BAD;
                let data = if forged { "{\"number\":99999}" } else { data };
                let event = kind.as_ref().map(|kind| format!("event: {kind}\n"));
                let event = event.unwrap_or_default();
                format!("{event}data: {data}\nid: fake-{}-x\n\n", at + 1)
            };
            // now and then in the middle of a block
            let cut = if fastrand::usize(..100) == 0 { frame.len() / 2 } else { frame.len() };
            stream.write_all(&frame.as_bytes()[..cut]).await?;
            if cut < frame.len() {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn run(wrong: Wrong) -> Result<LedgerReport> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/events", listener.local_addr()?);
    let fake = Arc::new(Fake { wrong, log: Mutex::default(), head: watch::Sender::new(0) });
    let accept = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(fake.clone(), stream));
        }
    });
    let plan = Plan {
        publishers: 4,
        publish_every: Duration::from_millis(20),
        subscribers: 20,
        stay: Duration::from_millis(500),
        arrive: Duration::from_millis(300),
        http2: 0.0,
        ..Plan::default()
    };
    let ledger = Ledger::start(plan, vec![url.clone(), url]);
    ledger.progress(150, Duration::from_secs(20)).await?;
    let report = ledger.finish(Duration::from_secs(10)).await;
    accept.abort();
    report
}

#[tokio::test]
async fn a_broker_that_does_nothing_wrong_is_clean() -> Result<()> {
    let report = run(Wrong::Nothing).await?;
    report.assert_nothing_lost();
    assert!(report.verdicts.iter().map(|v| v.connections).sum::<usize>() > 40, "{report}");
    assert!(report.verdicts.iter().map(|v| v.delivered).sum::<usize>() > 500, "{report}");
    Ok(())
}

#[tokio::test]
async fn every_wrong_is_found_and_named() -> Result<()> {
    let is = |wrong: Wrong, offence: &Offence| match wrong {
        Wrong::Nothing => false,
        Wrong::Lose => matches!(offence, Offence::Missing { sequence: 21, .. }),
        Wrong::Repeat => matches!(offence, Offence::Repeated { sequence: 21, .. }),
        Wrong::Swap => matches!(offence, Offence::Repeated { .. } | Offence::OutOfOrder { .. }),
        Wrong::IgnoreFilters => matches!(offence, Offence::Unexpected { .. }),
        Wrong::Forge => matches!(offence, Offence::Unexpected { number: 99999, .. }),
        Wrong::TellNoCursor => matches!(offence, Offence::Violation(_)),
        Wrong::IgnoreStarts => matches!(offence, Offence::Missing { .. }),
    };
    for wrong in [
        Wrong::Lose,
        Wrong::Repeat,
        Wrong::Swap,
        Wrong::IgnoreFilters,
        Wrong::Forge,
        Wrong::TellNoCursor,
        Wrong::IgnoreStarts,
    ] {
        let report = run(wrong).await?;
        let found = report.verdicts.iter().flat_map(|verdict| &verdict.offences);
        assert!(found.clone().any(|offence| is(wrong, offence)), "{wrong:?} not found\n{report}");
    }
    Ok(())
}
