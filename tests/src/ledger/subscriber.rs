//! A subscriber of the ledger: it stays for a while, goes away more or less politely, and comes back to any broker with the
//! cursor it has. It writes down what it sees and judges nothing.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use anyhow::Result;
use fastrand::Rng;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Observed, Phase, Plan, Seen, Shared, Start, note, plan};
use crate::{
    cursor::Cursor,
    filter::Filter,
    http::Version,
    sse::{Event, EventStream, Refused, Subscribe},
};

/// Receive buffer of those who are slow: small, so that the broker notices.
const SMALL: u32 = 4096;
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
    observed: Observed,
}

/// Subscribes until the run ends, and hands over what was seen.
pub(super) async fn run(shared: Arc<Shared>, index: usize) -> Observed {
    let mut rng = shared.plan.rng(2, index);
    let plan = &shared.plan;
    let unfiltered = rng.f64() < plan.unfiltered;
    let filter = if unfiltered { Filter::default() } else { plan::random_filter(&mut rng) };
    let start = if rng.f64() < plan.earliest { Start::Earliest } else { Start::Latest };
    let manner = manner(&mut rng, plan);
    let name = format!("subscriber {index:03} ({start:?}, {manner:?})");
    let observed = Observed { name, filter, start, seen: Vec::new() };
    let phase = shared.phase.subscribe();
    let mut subscriber = Subscriber { shared, rng, manner, phase, cursor: None, observed };
    while subscriber.connection().await.is_continue() {
        // as a browser waits for `retry:`, but shorter
        let pause = plan::around(&mut subscriber.rng, Duration::from_millis(60));
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped(&mut subscriber.phase) => break,
        }
    }
    subscriber.observed
}

impl Subscriber {
    /// One connection; breaks when the run is over for this subscriber.
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
                // what is refused for good must not happen to a ledger; a broker that is down must
                let fault = error.downcast_ref::<Refused>().filter(|refused| refused.status < 500);
                if let Some(refused) = fault {
                    self.observed.seen.push(Seen::Violation(refused.to_string()));
                }
                return self.end(format!("{error:#}"));
            }
        };
        let at = self.shared.began.elapsed();
        self.observed.seen.push(Seen::Opened { at, broker });
        let mut leave = Instant::now() + plan::around(&mut self.rng, self.shared.plan.stay);
        loop {
            let calm = matches!(&*self.phase.borrow(), Phase::Ending(_));
            if calm {
                leave = Instant::now() + FOREVER;
                if self.arrived() {
                    return ControlFlow::Break(());
                }
            }
            tokio::select! {
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
                () = sleep_until(leave) => {
                    drop(stream.cut());
                    return self.end("left".to_owned());
                }
                changed = self.phase.changed() => {
                    if changed.is_err() || *self.phase.borrow() == Phase::Stopped {
                        return ControlFlow::Break(());
                    }
                }
            }
            if self.manner.slow && !calm && self.rng.f64() < 0.02 {
                // being slow is the point here, not a condition
                sleep(plan::around(&mut self.rng, Duration::from_millis(700))).await;
            }
        }
    }

    fn request(&self, broker: usize) -> Result<Subscribe> {
        let mut query = self.observed.filter.query();
        let from = match self.observed.start {
            Start::Earliest => "earliest",
            Start::Latest => "latest",
        };
        query.push(("from", from.to_owned()));
        let url = reqwest::Url::parse_with_params(&self.shared.urls[broker], query)?;
        Ok(Subscribe {
            url: url.to_string(),
            last_event_id: self.cursor.clone(),
            version: self.manner.version,
            receive_buffer: self.manner.receive_buffer,
            headers: Vec::new(),
        })
    }

    fn take(&mut self, event: &Event) {
        if let Some(id) = &event.id {
            self.cursor = Some(id.clone());
        }
        let seen = note::seen(event);
        let seen =
            seen.unwrap_or_else(|error| Seen::Violation(format!("{error:#}: {:?}", event.raw)));
        self.observed.seen.push(seen);
    }

    fn end(&mut self, why: String) -> ControlFlow<()> {
        self.observed.seen.push(Seen::Ended(why));
        ControlFlow::Continue(())
    }

    /// Whether the last event of the run is behind us. By place, not by text: who began after it has a cursor without it.
    fn arrived(&self) -> bool {
        let place = |cursor: &str| Cursor::parse(cursor).ok();
        match &*self.phase.borrow() {
            Phase::Ending(Some(last)) => self.cursor.as_deref().and_then(place) == place(last),
            _ => false,
        }
    }
}

fn manner(rng: &mut Rng, plan: &Plan) -> Manner {
    if rng.f64() < plan.slow {
        return Manner { version: Version::One, receive_buffer: Some(SMALL), slow: true };
    }
    let draw = rng.f64();
    let version = if draw < plan.http2 { Version::Two } else { Version::One };
    let abrupt = (plan.http2..plan.http2 + plan.abrupt).contains(&draw);
    Manner { version, receive_buffer: abrupt.then_some(64 << 10), slow: false }
}

async fn stopped(phase: &mut watch::Receiver<Phase>) {
    drop(phase.wait_for(|phase| *phase == Phase::Stopped).await);
}
