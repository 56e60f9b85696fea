//! A broker in memory that can be told to misbehave. It looks at no signature.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use eventcast_tests::filter::Filter;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::watch,
    time::sleep,
};

/// What the broker does wrong, with its twentieth event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
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
    /// A client with a grant gets what it asks for.
    IgnoreGrants,
    /// A token is accepted after its end.
    AcceptEndedTokens,
    /// A stream ends before its grant.
    ExpireEarly,
    /// The last event before the end of a grant is passed over.
    LoseAtExpiry,
}

impl Wrong {
    /// Whether it is about grants, so that some subscribers must have one.
    pub(super) fn is_about_grants(self) -> bool {
        use Wrong::{AcceptEndedTokens, ExpireEarly, IgnoreGrants, LoseAtExpiry, Nothing};
        matches!(self, Nothing | IgnoreGrants | AcceptEndedTokens | ExpireEarly | LoseAtExpiry)
    }
}

const BAD: usize = 20;

struct Stored {
    topic: Option<String>,
    kind: Option<String>,
    data: String,
    at: jiff::Timestamp,
}

/// How long before the end of a grant its client is told, in milliseconds.
const NOTICE_MS: i64 = 800;

/// How much too early a stream may end, in milliseconds.
const EARLY_MS: i64 = 650;

/// What a token grants, and until when, in milliseconds since 1970.
struct Grant {
    topics: Vec<String>,
    end: i64,
}

impl Grant {
    /// That of `Authorization`. Signatures are not looked at.
    fn of(header: &str) -> Result<Self> {
        let claims = header.split('.').nth(1).context("no token")?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
        let more = claims["grants"]["subscribe"].as_array().context("no grants")?;
        let more = more.iter().filter_map(|topic| topic.as_str().map(str::to_owned));
        let own = format!("user.{}", claims["sub"].as_str().context("no subject")?);
        let end = claims["exp"].as_i64().context("no end")? * 1000;
        Ok(Self { topics: more.chain([own]).collect(), end })
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Waits until a time; no time: for ever.
async fn until(time: Option<i64>) {
    match time.map(|time| u64::try_from(time - now()).unwrap_or(0)) {
        Some(ms) => sleep(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}

/// The broker.
pub(super) struct Fake {
    wrong: Wrong,
    /// When the grants of streams end, by the paths of their renewal.
    ends: Mutex<HashMap<String, watch::Sender<i64>>>,
    log: Mutex<(Vec<Stored>, HashMap<String, usize>)>,
    head: watch::Sender<usize>,
}

/// The sequence of a cursor.
fn sequence(cursor: &str) -> Option<usize> {
    cursor.strip_prefix("fake-")?.strip_suffix("-x")?.parse().ok()
}

impl Fake {
    /// One without events.
    pub(super) fn new(wrong: Wrong) -> Arc<Self> {
        let (ends, log, head) = (Mutex::default(), Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { wrong, ends, log, head })
    }

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
pub(super) async fn serve(fake: Arc<Fake>, stream: TcpStream) -> Result<()> {
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
    let grant = headers.get("authorization").map(|header| Grant::of(header)).transpose()?;
    if method == Some("POST")
        && let Some(grant) = &grant
    {
        let end = fake.ends.lock().get(target).cloned().context("no such stream")?;
        end.send_replace(grant.end);
        let at = jiff::Timestamp::from_millisecond(grant.end)?;
        return respond(&mut stream, "200 OK", &format!("{{\"expires_at\":\"{at}\"}}")).await;
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
    let accepts_ended = fake.wrong == Wrong::AcceptEndedTokens;
    if grant.as_ref().is_some_and(|grant| grant.end <= now() && !accepts_ended) {
        return respond(&mut stream, "401 Unauthorized", "{\"check\":\"expired\"}").await;
    }
    let granted = grant.as_ref().filter(|_| fake.wrong != Wrong::IgnoreGrants);
    let granted = granted.map(|grant| grant.topics.clone()).unwrap_or_default();
    let filter = Filter { topics: values("topic"), types: values("type"), granted };
    let resumed = headers.get("last-event-id").and_then(|id| sequence(id));
    let from = values("from").pop().unwrap_or_default();
    let start = match resumed {
        Some(sequence) => sequence,
        None if fake.wrong == Wrong::IgnoreStarts => *fake.head.borrow(),
        None => fake.begins(&from, &filter),
    };
    subscribe(&fake, &mut stream, &filter, start, grant.map(|grant| grant.end)).await
}

async fn respond(stream: &mut BufReader<TcpStream>, status: &str, body: &str) -> Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    Ok(stream.write_all((head + body).as_bytes()).await?)
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
    // one answer in thirty is lost on its way
    if fastrand::usize(..30) > 0 {
        respond(stream, "201 Created", &answer).await?;
    }
    Ok(())
}

async fn subscribe(
    fake: &Fake,
    stream: &mut BufReader<TcpStream>,
    filter: &Filter,
    start: usize,
    end: Option<i64>,
) -> Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let cursor = format!("fake-{start}-x");
    let told =
        format!("event: eventcast.cursor\ndata: {{\"cursor\":\"{cursor}\"}}\nid: {cursor}\n\n");
    let told = if fake.wrong == Wrong::TellNoCursor { "" } else { &told };
    let first = format!("{head}retry: 100\n:\n\n{told}");
    stream.write_all(first.as_bytes()).await?;
    let mut news = fake.head.subscribe();
    let mut expiry = end.map(|end| {
        let renew = format!("/renewals/{}", fastrand::u64(..));
        let (sender, end) = watch::channel(end);
        fake.ends.lock().insert(renew.clone(), sender);
        Expiry { end, told: 0, renew }
    });
    for at in start.. {
        if next_or_expiry(fake, stream, &mut news, at, expiry.as_mut()).await? {
            return expire(fake, stream, &mut news, filter, at).await;
        }
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

/// The end of the grant of a stream, which a renewal moves, and the last end that the client was told of.
struct Expiry {
    end: watch::Receiver<i64>,
    told: i64,
    renew: String,
}

/// Waits for the event after `at`, or for the end of the grant; then the result is true. Tells the client of the end in advance.
async fn next_or_expiry(
    fake: &Fake,
    stream: &mut BufReader<TcpStream>,
    news: &mut watch::Receiver<usize>,
    at: usize,
    expiry: Option<&mut Expiry>,
) -> Result<bool> {
    let Some(Expiry { end: ends, told, renew }) = expiry else {
        news.wait_for(|head| *head > at).await?;
        return Ok(false);
    };
    let early = if fake.wrong == Wrong::ExpireEarly { EARLY_MS } else { 0 };
    loop {
        let end = *ends.borrow_and_update();
        let notice = (*told != end).then_some(end - NOTICE_MS);
        tokio::select! {
            biased;
            () = until(Some(end - early)) => return Ok(true),
            () = until(notice) => {
                *told = end;
                let data = format!("{{\"renew\":\"{renew}\"}}");
                let notice = format!("event: eventcast.expiring\ndata: {data}\n\n");
                stream.write_all(notice.as_bytes()).await?;
            }
            moved = ends.changed() => moved?,
            came = async { news.wait_for(|head| *head > at).await.map(drop) } => {
                return Ok(came.map(|()| false)?);
            }
        }
    }
}

/// Ends a stream whose grant has.
async fn expire(
    fake: &Fake,
    stream: &mut BufReader<TcpStream>,
    news: &mut watch::Receiver<usize>,
    filter: &Filter,
    at: usize,
) -> Result<()> {
    if fake.wrong == Wrong::LoseAtExpiry {
        let passes = |at: &usize| {
            let Stored { topic, kind, .. } = &fake.log.lock().0[*at];
            filter.passes(topic.as_deref(), kind.as_deref())
        };
        for at in at.. {
            news.wait_for(|head| *head > at).await?;
            if passes(&at) {
                let cursor = format!("fake-{}-x", at + 1);
                let told = format!(
                    "event: eventcast.cursor\ndata: {{\"cursor\":\"{cursor}\"}}\nid: {cursor}\n\n"
                );
                stream.write_all(told.as_bytes()).await?;
                break;
            }
        }
    }
    let closing = "event: eventcast.closing\ndata: {\"reason\":\"expired\"}\n\n";
    Ok(stream.write_all(closing.as_bytes()).await?)
}
