//! A subscriber of the ledger: it stays for a while, disconnects in different ways, and reconnects to any broker with its cursor.
//! It records what it receives and judges nothing.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use anyhow::Result;
use fastrand::Rng;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Fate, Observed, Phase, Plan, Published, Seen, Shared, Start, note, plan};
use crate::{
    cursor::Cursor,
    filter::Filter,
    http::Version,
    sse::{Event, EventStream, Refused, Subscribe},
};

/// The receive buffer of slow subscribers: small, so that the broker's writes block.
const SMALL_RECEIVE_BUFFER: u32 = 4096;
/// How long a stream may take to send its first cursor, which is in its first bytes.
const FIRST_ID_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than any phase of a run.
const FOREVER: Duration = Duration::from_secs(86_400);

/// How one subscriber behaves.
#[derive(Debug)]
struct Manner {
    version: Version,
    receive_buffer: Option<u32>,
    slow: bool,
}

struct Subscriber {
    shared: Arc<Shared>,
    rng: Rng,
    manner: Manner,
    phase: watch::Receiver<Phase>,
    cursor: Option<String>,
    /// Whether the current connection has sent a cursor.
    has_cursor: bool,
    observed: Observed,
}

/// Subscribes until the run ends, and returns what was received.
pub(super) async fn run(shared: Arc<Shared>, index: usize) -> Observed {
    let mut rng = shared.plan.rng(2, index);
    let plan = &shared.plan;
    let unfiltered = rng.f64() < plan.unfiltered;
    let filter = if unfiltered { Filter::default() } else { plan::random_filter(&mut rng) };
    let manner = manner(&mut rng, plan);
    let mut phase = shared.phase.subscribe();
    let arrive = plan::exponential(&mut rng, plan.arrive);
    tokio::select! {
        () = sleep(arrive) => {}
        ended = phase.wait_for(|phase| *phase != Phase::Running) => drop(ended),
    }
    let start =
        plan::random_start(&mut rng, plan.retained, shared.began.elapsed(), &shared.cursors());
    let name = format!("subscriber {index:03} ({start:?}, {manner:?})");
    let observed = Observed { name, filter, start, seen: Vec::new() };
    let has_cursor = false;
    let mut subscriber =
        Subscriber { shared, rng, manner, phase, cursor: None, has_cursor, observed };
    while subscriber.connection().await.is_continue() {
        // As a browser waits for `retry:`, but shorter.
        let pause = plan::exponential(&mut subscriber.rng, Duration::from_millis(60));
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped(&mut subscriber.phase) => break,
        }
    }
    subscriber.observed
}

impl Subscriber {
    /// Serves one connection. Breaks when the run is over for this subscriber.
    async fn connection(&mut self) -> ControlFlow<()> {
        let broker = self.rng.usize(..self.shared.urls.len());
        let request = match self.request(broker) {
            Ok(request) => request,
            Err(error) => return self.end(format!("{error:#}")),
        };
        let opened = tokio::select! {
            opened = EventStream::open(request) => opened,
            () = stopped(&mut self.phase) => return ControlFlow::Break(()),
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => {
                // A final refusal is a violation. A broker that is down is expected.
                let fault = error.downcast_ref::<Refused>().filter(|refused| refused.status < 500);
                if let Some(refused) = fault {
                    self.observed.seen.push(Seen::Violation(refused.to_string()));
                }
                return self.end(format!("{error:#}"));
            }
        };
        let at = self.shared.began.elapsed();
        self.observed.seen.push(Seen::Opened { at, broker });
        self.has_cursor = false;
        let cursor_deadline = Instant::now() + FIRST_ID_TIMEOUT;
        let cut_early = self.rng.f64() < self.shared.plan.cut_early;
        let stay = plan::exponential(&mut self.rng, self.shared.plan.stay);
        let mut leave = Instant::now() + if cut_early { Duration::ZERO } else { stay };
        loop {
            let calm = matches!(&*self.phase.borrow(), Phase::Ending(_));
            if calm {
                leave = Instant::now() + FOREVER;
                if self.arrived() {
                    return ControlFlow::Break(());
                }
            }
            tokio::select! {
                biased;
                () = sleep_until(leave), if self.has_cursor => {
                    drop(stream.cut());
                    self.observed.seen.push(Seen::Left);
                    return ControlFlow::Continue(());
                }
                () = sleep_until(cursor_deadline), if !self.has_cursor => {
                    let text = format!("no cursor within {FIRST_ID_TIMEOUT:?}");
                    self.observed.seen.extend([Seen::Violation(text), Seen::Left]);
                    return ControlFlow::Continue(());
                }
                event = stream.next() => match event {
                    Ok(Some(event)) => self.take(&event),
                    Ok(None) => return self.end("closed".to_owned()),
                    Err(error) if error.is::<reqwest::Error>() || error.is::<std::io::Error>() => {
                        return self.end(format!("{error:#}"));
                    }
                    Err(error) => {
                        self.observed.seen.push(Seen::Violation(format!("{error:#}")));
                        return ControlFlow::Continue(());
                    }
                },
                changed = self.phase.changed() => {
                    if changed.is_err() || *self.phase.borrow() == Phase::Stopped {
                        return ControlFlow::Break(());
                    }
                }
            }
            if self.manner.slow && !calm && self.rng.f64() < 0.02 {
                // A subscriber that reads slowly.
                sleep(plan::exponential(&mut self.rng, Duration::from_millis(700))).await;
            }
        }
    }

    fn request(&self, broker: usize) -> Result<Subscribe> {
        let mut query = self.observed.filter.query();
        query.extend(self.from().map(|from| ("from", from)));
        let url = reqwest::Url::parse_with_params(&self.shared.urls[broker], query)?;
        Ok(Subscribe {
            url: url.to_string(),
            last_event_id: self.cursor.clone(),
            version: self.manner.version,
            receive_buffer: self.manner.receive_buffer,
            headers: Vec::new(),
        })
    }

    fn from(&self) -> Option<String> {
        Some(match &self.observed.start {
            Start::Default => return None,
            Start::Earliest => "earliest".to_owned(),
            Start::Latest => "latest".to_owned(),
            Start::Last(n) => format!("last:{n}"),
            Start::Ago(ago) => format!("-{}s", ago.as_secs()),
            Start::Time(time) => (self.shared.began_at + *time).to_string(),
            Start::Cursor(cursor) => cursor.clone(),
        })
    }

    fn take(&mut self, event: &Event) {
        let seen = note::seen(event);
        let seen =
            seen.unwrap_or_else(|error| Seen::Violation(format!("{error:#}: {:?}", event.raw)));
        if !self.has_cursor && matches!(seen, Seen::Event { .. }) {
            let text = format!("a stream sends no cursor before {:?}", event.raw);
            self.observed.seen.push(Seen::Violation(text));
        }
        if let Some(id) = &event.id {
            self.cursor = Some(id.clone());
            self.has_cursor = true;
        }
        self.observed.seen.push(seen);
    }

    fn end(&mut self, why: String) -> ControlFlow<()> {
        self.observed.seen.push(Seen::Ended(why));
        ControlFlow::Continue(())
    }

    /// Whether the last event of the run has arrived. Cursors are compared by position, not as text: a subscriber that started
    /// after the event has a cursor without a check.
    fn arrived(&self) -> bool {
        let place = |cursor: &str| Cursor::parse(cursor).ok();
        match &*self.phase.borrow() {
            Phase::Ending(Some(last)) => self.cursor.as_deref().and_then(place) == place(last),
            _ => false,
        }
    }
}

impl Shared {
    /// Cursors of acknowledged events of the present log.
    fn cursors(&self) -> Vec<String> {
        let Ok(logs) = self.logs.try_read() else {
            return Vec::new(); // the log is being replaced
        };
        let published = self.published.lock();
        let present = published.iter().filter(|event| event.log == logs.cuts.len());
        let cursor = |event: &Published| match &event.fate {
            Fate::Stored(cursor) => Some(cursor.clone()),
            _ => None,
        };
        present.filter_map(cursor).collect()
    }
}

fn manner(rng: &mut Rng, plan: &Plan) -> Manner {
    if rng.f64() < plan.slow {
        return Manner {
            version: Version::Http1,
            receive_buffer: Some(SMALL_RECEIVE_BUFFER),
            slow: true,
        };
    }
    let draw = rng.f64();
    let version = if draw < plan.http2 { Version::Http2 } else { Version::Http1 };
    let abrupt = (plan.http2..plan.http2 + plan.abrupt).contains(&draw);
    Manner { version, receive_buffer: abrupt.then_some(64 << 10), slow: false }
}

async fn stopped(phase: &mut watch::Receiver<Phase>) {
    drop(phase.wait_for(|phase| *phase == Phase::Stopped).await);
}
