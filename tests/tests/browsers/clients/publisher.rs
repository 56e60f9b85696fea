//! Publishes the corpus through one broker, then further events until it is stopped.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    clients::{Delivered, Published},
    http::{Publish, Version, client},
};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle, time::interval};

/// Types that a client has to listen to.
pub(crate) const TYPES: &str = "order.paid,größe.größer,two words";
/// Pause between two events: short enough that restarts happen between events.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(15);

/// Types and data that ask something of a parser. The data as it is to be seen: with LF alone.
fn corpus() -> Vec<(&'static str, String)> {
    let long: String = (0..100 << 10).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let lines: String = (0..5000).map(|n| format!("line {n:013}\n")).collect();
    vec![
        ("message", "plain".into()),
        ("message", "Żółć 漢字 🦀 e\u{301} \u{202e}\u{2067} \u{7f}\u{1b}[31m".into()),
        ("message", "first\nsecond\n\nfourth".into()),
        ("message", "\n\nbegins with line ends, ends with two\n\n".into()),
        ("order.paid", "{\n  \"order\": 7,\n  \"note\": \"two\\nlines\"\n}".into()),
        ("order.paid", "{\"total\":12.50,\"who\":\"Zoë\"}".into()),
        ("message", " one space\n  two\n\tand a tab".into()),
        ("message", String::new()),
        ("größe.größer", "a type with umlauts".into()),
        ("two words", "a type with a space".into()),
        ("message", "id: 7\nevent: forged\ndata: x\nretry: 1\n: comment\n\ndata: y".into()),
        ("message", ":\n: x\ndata".into()),
        ("message", "\u{feff}a byte order mark".into()),
        ("message", "next\u{85}line \u{2028} \u{2029} \u{b} \u{c} \u{1c}\u{1e} ends".into()),
        ("message", long),
        ("order.paid", lines),
        ("message", "<b onclick=x>&amp;\"'</b> \\n %0A \\u000a".into()),
    ]
}

/// A running publisher.
pub(crate) struct Publisher {
    stored: Arc<Mutex<Vec<Delivered>>>,
    stop: watch::Sender<bool>,
    run: JoinHandle<Result<()>>,
}

impl Publisher {
    /// Begins to publish at `url`.
    pub(crate) fn start(url: &str) -> Self {
        let (stored, stop) = (Arc::new(Mutex::new(Vec::new())), watch::Sender::new(false));
        let run = tokio::spawn(run(url.to_owned(), Arc::clone(&stored), stop.subscribe()));
        Self { stored, stop, run }
    }

    /// How many events are acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.stored.lock().len()
    }

    /// The cursor of the newest event that is acknowledged.
    pub(crate) fn newest(&self) -> String {
        self.stored.lock().last().map(|event| event.id.clone()).unwrap_or_default()
    }

    /// Ends it, and gives everything that was published.
    pub(crate) async fn stop(self) -> Result<Published> {
        self.stop.send_replace(true);
        self.run.await??;
        let stored = std::mem::take(&mut *self.stored.lock());
        Ok(Published(stored))
    }
}

async fn run(
    url: String,
    stored: Arc<Mutex<Vec<Delivered>>>,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let (http, corpus) = (client(Version::Http1), corpus());
    let mut pace = interval(PUBLISH_INTERVAL);
    for n in 0_usize.. {
        // once the corpus is through, it comes again, thinly, among numbers
        let (event_type, data) = match corpus.get(n) {
            Some(event) => event.clone(),
            None if n % 7 == 0 => corpus[n / 7 % corpus.len()].clone(),
            None => ("message", format!("number {n}")),
        };
        let mut publish = Publish::new(sent(&data));
        if event_type != "message" {
            publish = publish.kind(event_type);
        }
        let answer = publish.send(&http, &url).await?;
        ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
        let id = answer.cursor().context("no cursor")?.to_owned();
        stored.lock().push(Delivered { id, event_type: event_type.to_owned(), data });
        if *stop.borrow() {
            return Ok(());
        }
        pace.tick().await;
    }
    Ok(())
}

/// Other line ends arrive as LF too.
fn sent(data: &str) -> String {
    if data.starts_with("first") {
        data.replacen('\n', "\r\n", 1).replacen("\n\n", "\r\r", 1)
    } else {
        data.to_owned()
    }
}
