//! A subscriber of the ledger: it stays for a while, disconnects in different ways, and reconnects to any broker with its cursor.
//! It records what it receives and judges nothing.

use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context as _, Result};
use fastrand::Rng;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Contact, Observed, Phase, Seen, Shared, Start,
    behaviour::Behaviour,
    credential::{Credential, Renewal, now},
    entry, plan,
};
use crate::{
    cursor::Cursor,
    filter::Filter,
    sse::{Event, EventStream, Refused, Subscribe},
};

/// How long a stream may take to send its first cursor, which is in its first bytes.
const FIRST_ID_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after the end of its grant an event may reach a subscriber that reads all the time, in milliseconds: the machine may have
/// other things to do.
const LATE_MS: i64 = 10_000;
/// How much earlier than its grant a stream may end, in milliseconds.
const EARLY_MS: i64 = 500;
/// The share of clients that check the end of their token before they send it. The others learn of it from the response.
const CHECKS_TOKEN: f64 = 0.7;
/// The share of notices that a client renews its grant at.
const RENEWS: f64 = 0.6;
/// The mean time until a subscriber reconnects if it does not wait as long as the broker asks.
const IMPATIENT_DELAY: Duration = Duration::from_millis(60);
/// How long browsers wait if the broker has sent no `retry:`.
const DEFAULT_RETRY: Duration = Duration::from_secs(3);
/// Longer than any phase of a run.
const FOREVER: Duration = Duration::from_secs(86_400);

/// When the grant of an open stream ends, in milliseconds since 1970. A renewal may not have reached the broker of the stream in time,
/// so that there is an earliest and a latest end.
#[derive(Clone, Copy)]
struct GrantEnd {
    earliest: i64,
    latest: i64,
}

struct Subscriber {
    shared: Arc<Shared>,
    rng: Rng,
    behaviour: Behaviour,
    credential: Option<Credential>,
    /// That of the current connection.
    grant_end: Option<GrantEnd>,
    /// The broker of the current connection.
    broker: usize,
    phase: watch::Receiver<Phase>,
    cursor: Option<String>,
    /// Whether the current connection has sent a cursor.
    has_cursor: bool,
    /// Whether the current connection has sent an event of any type.
    is_served: bool,
    /// How long the broker asks the subscriber to wait before it reconnects.
    retry: Duration,
    observed: Observed,
}

/// Subscribes until the run ends, and returns what was received.
pub(super) async fn run(shared: Arc<Shared>, index: usize) -> Observed {
    let mut rng = shared.plan.rng(2, index);
    let plan = &shared.plan;
    let unfiltered = rng.f64() < plan.unfiltered;
    let mut filter = if unfiltered { Filter::default() } else { plan::random_filter(&mut rng) };
    let issuer = plan.issuer.as_ref().filter(|_| rng.f64() < plan.granted);
    let credential = issuer.map(|issuer| Credential::draw(issuer, &mut rng));
    if let Some(credential) = &credential {
        plan::narrow(&mut filter, credential.granted());
    }
    let behaviour = Behaviour::draw(&mut rng, plan);
    let mut phase = shared.phase.subscribe();
    let arrive = plan::exponential(&mut rng, plan.arrive);
    tokio::select! {
        () = sleep(arrive) => {}
        ended = phase.wait_for(|phase| *phase != Phase::Running) => drop(ended),
    }
    let start =
        plan::random_start(&mut rng, plan.retained, shared.began.elapsed(), &shared.cursors());
    let name = format!("subscriber {index:03} ({start:?}, {behaviour:?}, {filter:?})");
    let mut subscriber = Subscriber {
        shared,
        rng,
        behaviour,
        credential,
        grant_end: None,
        broker: 0,
        phase,
        cursor: None,
        has_cursor: false,
        is_served: false,
        retry: DEFAULT_RETRY,
        observed: Observed { name, filter, start, seen: Vec::new(), contact: Vec::new() },
    };
    while subscriber.connection().await.is_continue() {
        subscriber.contact(Contact::Lost);
        let short = plan::exponential(&mut subscriber.rng, IMPATIENT_DELAY);
        let left = matches!(subscriber.observed.seen.last(), Some(Seen::Left));
        let obeys = subscriber.shared.plan.obeys_retry && !left; // a subscriber that left comes back when it likes
        let pause = if obeys { subscriber.retry } else { short };
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped(&mut subscriber.phase) => break,
        }
    }
    subscriber.contact(Contact::Stopped);
    subscriber.observed
}

impl Subscriber {
    /// Serves one connection. Breaks when the run is over for this subscriber.
    async fn connection(&mut self) -> ControlFlow<()> {
        let broker = self.rng.usize(..self.shared.urls.len());
        self.broker = broker;
        if let Some(credential) = self.credential.as_mut().filter(|c| c.has_ended())
            && self.rng.f64() < CHECKS_TOKEN
        {
            credential.refresh(&mut self.rng);
        }
        let request = match self.request(broker) {
            Ok(request) => request,
            Err(error) => return self.end(format!("{error:#}")),
        };
        let had_ended = self.credential.as_ref().is_some_and(Credential::has_ended);
        let opened = tokio::select! {
            opened = EventStream::open(request) => opened,
            () = stopped(&mut self.phase) => return ControlFlow::Break(()),
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => {
                let why = match error.downcast_ref::<Refused>() {
                    Some(refused) if self.is_expiry(refused) => entry::EXPIRED.to_owned(),
                    _ => format!("{error:#}"),
                };
                return self.end(why);
            }
        };
        if had_ended {
            let text = "a token that had ended opened a stream".to_owned();
            self.observed.seen.push(Seen::Violation(text));
        }
        self.grant_end = self.credential.as_ref().map(|credential| {
            let end = credential.end();
            GrantEnd { earliest: end, latest: end }
        });
        let at = self.shared.began.elapsed();
        self.observed.seen.push(Seen::Opened { at, broker });
        self.has_cursor = false;
        self.is_served = false;
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
                    Ok(Some(event)) if self.is_notice(&event) => self.answer(&event).await,
                    Ok(Some(event)) => {
                        self.retry = stream.retry().map_or(self.retry, Duration::from_millis);
                        self.take(&event);
                    }
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
            if self.behaviour.slow && !calm && self.rng.f64() < 0.02 {
                // A subscriber that reads slowly.
                let pause = plan::exponential(&mut self.rng, self.shared.plan.slow_pause);
                sleep(pause).await;
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
            version: self.behaviour.version,
            receive_buffer: self.behaviour.receive_buffer,
            headers: self.credential.iter().map(Credential::header).collect(),
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
        let seen = entry::of_event(event);
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
        if !self.is_served && !matches!(seen, Seen::Ended(_)) {
            self.is_served = true;
            self.contact(Contact::Served);
        }
        if matches!(seen, Seen::Event { .. }) {
            self.contact(Contact::Event);
        }
        self.observed.seen.extend(self.at_wrong_time(&seen));
        self.record(seen);
    }

    /// Records a moment of service.
    fn contact(&mut self, of: fn(Duration) -> Contact) {
        self.observed.contact.push(of(self.shared.began.elapsed()));
    }

    /// The violation, if something comes after the grant of the stream, or its end before that.
    fn at_wrong_time(&self, seen: &Seen) -> Option<Seen> {
        let after = |time: i64| now() - time;
        let text = match (seen, self.grant_end) {
            (Seen::Event { .. }, Some(end))
                if !self.behaviour.slow && after(end.latest) > LATE_MS =>
            {
                format!("an event came {} ms after the end of the grant", after(end.latest))
            }
            (Seen::Ended(why), Some(end))
                if why == entry::EXPIRED && after(end.earliest) < -EARLY_MS =>
            {
                format!("expired {} ms before the end of the grant", -after(end.earliest))
            }
            (Seen::Ended(why), None) if why == entry::EXPIRED => "no grant could expire".to_owned(),
            (Seen::Ended(why), _) if why.contains("revoked") || why.contains("grant-changed") => {
                format!("{why}, but the grant is the same")
            }
            _ => return None,
        };
        Some(Seen::Violation(text))
    }

    /// Whether a refusal is that of a token that has ended; the client has another one then. Other final refusals are violations. A
    /// broker that is down is expected.
    fn is_expiry(&mut self, refused: &Refused) -> bool {
        let says = |text: &str| refused.body.contains(text);
        match &mut self.credential {
            Some(credential)
                if refused.status == 401
                    && credential.has_ended()
                    && says("\"check\":\"expired\"") =>
            {
                credential.refresh(&mut self.rng);
                return true;
            }
            // Other clients at this address have sent tokens that had ended.
            Some(_) if refused.status == 429 && says("too-many-refusals") => {}
            _ if refused.status < 500 => {
                self.observed.seen.push(Seen::Violation(refused.to_string()));
            }
            _ => {}
        }
        false
    }

    /// Whether the event tells a client with a grant that this will end.
    fn is_notice(&self, event: &Event) -> bool {
        self.credential.is_some() && event.event_type == "eventcast.expiring"
    }

    /// Answers the notice: renews the grant at any broker, or lets it expire.
    async fn answer(&mut self, notice: &Event) {
        let (Some(credential), Some(end)) = (&mut self.credential, &mut self.grant_end) else {
            return;
        };
        if self.rng.f64() >= RENEWS {
            return;
        }
        let broker = self.rng.usize(..self.shared.urls.len());
        let url = notice.json().and_then(|json| {
            let path = json["renew"].as_str().context("a notice without a path")?;
            Ok(reqwest::Url::parse(&self.shared.urls[broker])?.join(path)?)
        });
        let renewal = match url {
            Ok(url) => credential.renew(url.as_str(), &mut self.rng).await,
            Err(error) => Renewal::Wrong(format!("{error:#}: {:?}", notice.raw)),
        };
        end.latest = credential.end(); // also a renewal that is not confirmed may count
        match renewal {
            Renewal::Moved(to) => {
                // It counts at once at the broker of the stream, if the grant has not ended meanwhile.
                if broker == self.broker && now() < end.earliest {
                    end.earliest = to;
                }
                self.record(Seen::Renewed);
            }
            Renewal::Unavailable => {}
            Renewal::Wrong(text) => self.record(Seen::Violation(text)),
        }
    }

    fn end(&mut self, why: String) -> ControlFlow<()> {
        self.record(Seen::Ended(why));
        ControlFlow::Continue(())
    }

    /// Adds to the record, and counts what happens to grants.
    fn record(&mut self, seen: Seen) {
        match &seen {
            Seen::Ended(why) if why == entry::EXPIRED => &self.shared.expired,
            Seen::Renewed => &self.shared.renewed,
            _ => return self.observed.seen.push(seen),
        }
        .fetch_add(1, Relaxed);
        self.observed.seen.push(seen);
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

async fn stopped(phase: &mut watch::Receiver<Phase>) {
    drop(phase.wait_for(|phase| *phase == Phase::Stopped).await);
}
