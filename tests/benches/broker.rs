//! What one broker does on this machine: CPU per delivery, time to the last subscriber, memory per subscriber, publish latency.
//!
//! Server and load share the processors; figures compare builds on one machine, not machines. Run by `make bench`; takes the
//! release build of the broker.
#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Publish, Version, client},
    nats::NatsServer,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};

const EVENTS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);
/// Every event's data begins with it, and nothing else on the wire does.
const MARK: &[u8] = b"data: #";

#[derive(Default)]
struct Arrivals {
    count: AtomicU64,
    last: Mutex<Option<Instant>>,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!(
        "| subscribers | CPU per delivery | to the last, median | to the last, p99 | memory per subscriber |"
    );
    println!("|---|---|---|---|---|");
    for subscribers in [100, 1000, 5000] {
        runtime.block_on(fan_out(subscribers))?;
    }
    println!("\n| publish, 1 KB, one after the other, synced to disk | median | p99 |");
    println!("|---|---|---|");
    runtime.block_on(publishing())
}

async fn fan_out(subscribers: usize) -> Result<()> {
    let nats = NatsServer::start_with("1s").await?;
    let broker = Broker::start(&nats.url(), |_| {}).await?;
    let before = broker.rss()?;
    let arrivals = Arc::new(Arrivals::default());
    let mut readers = JoinSet::new();
    for _ in 0..subscribers {
        let mut socket = TcpStream::connect(broker.address()).await?;
        socket
            .write_all(b"GET /channels/default/demo/events HTTP/1.1\r\nHost: bench\r\n\r\n")
            .await?;
        readers.spawn(read(socket, Arc::clone(&arrivals)));
    }
    eventually("everyone subscribed", PATIENCE, || async {
        let open = broker.metric("eventcast_subscribers", &[]).await?;
        anyhow::ensure!((open - subscribers as f64).abs() < 0.5, "{open}");
        Ok(())
    })
    .await?;
    let memory = broker.rss()?.saturating_sub(before) / subscribers as u64;
    let (http, url) = (client(Version::One), broker.events_url(""));
    let publish = Publish::new(format!("#{}", "x".repeat(99)));
    let (cpu, mut last) = (cpu_seconds(broker.pid()?)?, Vec::new());
    for n in 1..=EVENTS {
        let began = Instant::now();
        publish.send(&http, &url).await?;
        let due = (n * subscribers) as u64;
        while arrivals.count.load(SeqCst) < due {
            anyhow::ensure!(began.elapsed() < PATIENCE, "event {n} did not reach everyone");
            tokio::task::yield_now().await;
        }
        let at = arrivals.last.lock().context("nothing arrived")?;
        last.push(at - began);
    }
    let used = cpu_seconds(broker.pid()?)? - cpu;
    let per_delivery = used * 1e6 / (EVENTS * subscribers) as f64;
    let (median, p99) = quantiles(&mut last);
    println!(
        "| {subscribers} | {per_delivery:.2} us | {median:.2} ms | {p99:.2} ms | {:.1} KB |",
        memory as f64 / 1024.0
    );
    Ok(())
}

async fn read(mut socket: TcpStream, arrivals: Arc<Arrivals>) {
    let mut buffer = vec![0; 4096];
    while let Ok(n @ 1..) = socket.read(&mut buffer).await {
        let seen = buffer[..n].windows(MARK.len()).filter(|w| *w == MARK).count();
        if seen > 0 {
            *arrivals.last.lock() = Some(Instant::now());
            arrivals.count.fetch_add(seen as u64, SeqCst);
        }
    }
}

async fn publishing() -> Result<()> {
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |_| {}).await?;
    let (http, url) = (client(Version::One), broker.events_url(""));
    let publish = Publish::new("x".repeat(1024));
    let mut took = Vec::new();
    for _ in 0..500 {
        let began = Instant::now();
        let answer = publish.send(&http, &url).await?;
        anyhow::ensure!(answer.status == 201, "{}", answer.status);
        took.push(began.elapsed());
    }
    let (median, p99) = quantiles(&mut took);
    println!("| | {median:.2} ms | {p99:.2} ms |");
    Ok(())
}

/// Median and 99th percentile, in milliseconds.
fn quantiles(all: &mut [Duration]) -> (f64, f64) {
    all.sort_unstable();
    let at =
        |percent: usize| all[(all.len() * percent / 100).min(all.len() - 1)].as_secs_f64() * 1e3;
    (at(50), at(99))
}

/// User and system time of a process so far (proc(5), fields 14 and 15 of stat, in ticks of 10 ms).
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).context("stat");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
