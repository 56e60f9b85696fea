//! A simulated channel: clients that connect to a random broker and come back to a random one, brokers that need time to start and to stop,
//! and the autopilot, which looks at them. Seeded: every run is the same.

use std::collections::BTreeMap;

use super::*;

/// Streams that a broker closes in a second, by order.
const PACE: u64 = 100;
/// Seconds that a broker takes to close all its streams before it stops.
const DRAIN: u64 = 60;

pub(super) struct Cluster {
    pub(super) now: u64,
    pub(super) spec: Spec,
    pub(super) deployment: DeploymentState,
    pub(super) memory: Memory,
    pub(super) brokers: Vec<SimBroker>,
    pub(super) rng: fastrand::Rng,
    /// Seconds between two steps of the simulation.
    pub(super) step: u64,
    /// Mean seconds for which a client stays.
    pub(super) session: u64,
    /// Seconds until a broker sees an order.
    pub(super) order_delay: u64,
    /// Where clients connect to: the first brokers are chosen by so many percent more than by chance.
    pub(super) pinned_percent: u64,
    /// Streams that were closed by order, and by brokers that stop.
    pub(super) moved: u64,
    pub(super) events: Vec<(u64, AutopilotEvent)>,
    /// Clients on their way back, by the second in which they connect.
    returning: BTreeMap<u64, u64>,
    started: usize,
}

pub(super) struct SimBroker {
    name: String,
    ready_at: u64,
    /// When it stops.
    stops_at: Option<u64>,
    pub(super) streams: u64,
    shed: u64,
    /// When the newest order is seen, and its ceiling. The end of an order is left out: each look gives another.
    order: Option<(u64, u64)>,
}

impl Cluster {
    /// `replicas` brokers with `streams` each.
    pub(super) fn new(seed: u64, spec: Spec, replicas: i32, streams: u64) -> Self {
        let mut cluster = Self {
            now: 0,
            spec,
            deployment: deployment(0),
            memory: Memory::default(),
            brokers: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            step: 1,
            session: 4 * 3600,
            order_delay: 0,
            pinned_percent: 0,
            moved: 0,
            events: Vec::new(),
            returning: BTreeMap::new(),
            started: 0,
        };
        cluster.scale(replicas, &[]);
        for broker in &mut cluster.brokers {
            (broker.ready_at, broker.streams) = (0, streams);
        }
        cluster
    }

    /// Streams, with those on their way back.
    pub(super) fn load(&self) -> u64 {
        self.streams().sum::<u64>() + self.returning.values().sum::<u64>()
    }

    fn streams(&self) -> impl Iterator<Item = u64> {
        self.brokers.iter().map(|broker| broker.streams)
    }

    /// Streams of the fullest of the brokers that serve, divided by the mean.
    pub(super) fn ratio(&self) -> f64 {
        let serving = self.brokers.iter().filter(|broker| broker.stops_at.is_none());
        let streams: Vec<u64> = serving.map(|broker| broker.streams).collect();
        let total: u64 = streams.iter().sum();
        streams.iter().copied().max().unwrap_or(0) as f64 * streams.len() as f64 / total as f64
    }

    pub(super) fn scale(&mut self, replicas: i32, victims: &[String]) {
        for broker in self.brokers.iter_mut().filter(|b| victims.contains(&b.name)) {
            broker.stops_at = Some(self.now + DRAIN);
        }
        for _ in self.deployment.replicas..replicas {
            let name = format!("broker-{:04}", self.started);
            let ready_at = self.now + self.rng.u64(21..=39);
            self.started += 1;
            let (streams, shed, stops_at, order) = (0, 0, None, None);
            self.brokers.push(SimBroker { name, ready_at, stops_at, streams, shed, order });
        }
        self.deployment.replicas = replicas;
    }

    /// Passes until `end`, with a look each 15 s. `load` gives the streams that clients want.
    pub(super) fn run(&mut self, end: u64, load: impl Fn(u64) -> u64) {
        while self.now < end {
            self.now += self.step;
            self.close_streams();
            self.connect(load(self.now));
            if self.now.is_multiple_of(LOOK) {
                self.look();
            }
        }
    }

    /// Brokers that are full or stop close streams; clients leave.
    fn close_streams(&mut self) {
        let (now, step) = (self.now, self.step);
        for broker in &mut self.brokers {
            let leaving = broker.streams as f64 * step as f64 / self.session as f64;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few streams
            let whole = leaving as u64 + u64::from(self.rng.f64() < leaving.fract());
            broker.streams -= whole.min(broker.streams);
            let mut closed = 0;
            if let Some((_, ceiling)) = broker.order.filter(|(seen, _)| *seen <= now) {
                closed = broker.streams.saturating_sub(ceiling).min(PACE * step);
                broker.shed += closed;
            }
            if let Some(end) = broker.stops_at {
                closed = (broker.streams * step).div_ceil(end.saturating_sub(now).max(step));
            }
            broker.streams -= closed;
            self.moved += closed;
            for _ in 0..closed {
                *self.returning.entry(now + self.rng.u64(1..=3)).or_default() += 1;
            }
        }
        self.brokers.retain(|broker| broker.stops_at.is_none_or(|end| now < end));
    }

    /// Clients come back, and others come or leave, until there are `load`.
    fn connect(&mut self, load: u64) {
        let later = self.returning.split_off(&(self.now + 1));
        let back: u64 = std::mem::replace(&mut self.returning, later).into_values().sum();
        let new = load.saturating_sub(self.load() + back);
        let now = self.now;
        let mut ready: Vec<_> =
            self.brokers.iter_mut().filter(|b| b.ready_at <= now && b.stops_at.is_none()).collect();
        let pinned = ready.len() / 3;
        for _ in 0..back + new {
            let is_pinned = pinned > 0 && self.rng.u64(0..100) < self.pinned_percent;
            let index = self.rng.usize(0..if is_pinned { pinned } else { ready.len() });
            ready[index].streams += 1;
        }
        let surplus = (self.load()).saturating_sub(load);
        for _ in 0..surplus {
            let index = self.rng.usize(0..self.brokers.len());
            let broker = &mut self.brokers[index];
            broker.streams = broker.streams.saturating_sub(1);
        }
    }

    /// A look, and what follows from it.
    pub(super) fn look(&mut self) -> Plan {
        let seen: Vec<Broker> = self.brokers.iter().map(|broker| broker.seen(self.now)).collect();
        let plan = plan(seconds(self.now), &self.spec, &self.deployment, &seen, &mut self.memory);
        self.events.extend(plan.events.iter().map(|events| (self.now, events.clone())));
        if let Some(replicas) = plan.replicas {
            self.scale(replicas, &plan.victims);
        }
        for broker in &mut self.brokers {
            let order = plan.orders.as_ref().filter(|o| o.brokers.contains(&broker.name));
            // What the broker follows until the new order arrives changes little.
            let seen_at = broker.order.map_or(self.now + self.order_delay, |(seen, _)| seen);
            broker.order = order.map(|order| (seen_at, order.ceiling));
        }
        plan
    }
}

impl SimBroker {
    fn seen(&self, now: u64) -> Broker {
        Broker {
            name: self.name.clone(),
            ready_for: now.checked_sub(self.ready_at).map(seconds),
            terminating: self.stops_at.is_some(),
            count: Some(Count { shed: self.shed, ..count(self.streams) }),
        }
    }
}
