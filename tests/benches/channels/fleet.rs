//! The simulated brokers of the day: what the Deployment controller, the kubelet and the clients do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use eventcast_crds::orders::{ANNOTATION, Order};
use eventcast_tests::{
    namespace::TestNamespace,
    pods,
    simulated_brokers::{Counts, running, spawn},
};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::day::SPEED;

pub(crate) const CHANNEL: &str = "orders";
/// Streams that a broker closes in a second, by order.
const PACE: u64 = 100;
/// Seconds that a broker takes to close all its streams before it stops.
const DRAIN: u64 = 60;
/// Mean seconds for which a client stays.
const SESSION: u64 = 4 * 3600;
/// Seconds until a started broker is ready.
const STARTUP: std::ops::RangeInclusive<u64> = 21..=39;

/// All brokers, and the clients between two of them.
pub(crate) struct Fleet<'a> {
    ns: &'a TestNamespace,
    pods: Api<Pod>,
    servers: JoinSet<()>,
    pub(crate) brokers: Vec<SimulatedBroker>,
    rng: fastrand::Rng,
    started: usize,
    /// Clients on their way back, by the second in which they connect.
    returning: BTreeMap<u64, u64>,
    /// Streams that were closed by order, and by brokers that stop.
    pub(crate) moved: u64,
    /// By how many brokers each step of the operator has changed the number.
    pub(crate) scalings: Vec<i64>,
    /// The longest time that a round of requests has taken, in time of the day.
    pub(crate) longest_round: Duration,
}

pub(crate) struct SimulatedBroker {
    name: String,
    counts: Arc<Mutex<Counts>>,
    ready_at: u64,
    is_ready: bool,
    stops_at: Option<u64>,
    ceiling: Option<u64>,
}

impl<'a> Fleet<'a> {
    /// As many brokers as `load` needs when each has three quarters of `target`.
    pub(crate) async fn start(ns: &'a TestNamespace, load: u64, target: u64) -> Result<Self> {
        let mut fleet = Self {
            ns,
            pods: ns.api(),
            servers: JoinSet::new(),
            brokers: Vec::new(),
            rng: fastrand::Rng::with_seed(1),
            started: 0,
            returning: BTreeMap::new(),
            moved: 0,
            scalings: Vec::new(),
            longest_round: Duration::ZERO,
        };
        let replicas = (load * 4).div_ceil(target * 3);
        let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let deployments: Api<Deployment> = ns.api();
        deployments.patch_scale("orders-broker", &PatchParams::default(), &scale).await?;
        for _ in 0..replicas {
            fleet.start_broker(0, load / replicas).await?;
        }
        for broker in &mut fleet.brokers {
            broker.ready_at = 0;
        }
        Ok(fleet)
    }

    /// Streams, with those on their way back.
    pub(crate) fn load(&self) -> u64 {
        self.streams().sum::<u64>() + self.returning.values().sum::<u64>()
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = u64> {
        self.brokers.iter().map(|broker| broker.counts.lock().streams)
    }

    /// What clients and brokers do in the `step` seconds before `now`.
    pub(crate) fn step(&mut self, now: u64, step: u64, load: u64) {
        for broker in &mut self.brokers {
            let mut counts = broker.counts.lock();
            let leaving = counts.streams as f64 * step as f64 / SESSION as f64;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
            let whole = leaving as u64 + u64::from(self.rng.f64() < leaving.fract());
            counts.streams -= whole.min(counts.streams);
            let mut closed = 0;
            if let Some(ceiling) = broker.ceiling {
                closed = counts.streams.saturating_sub(ceiling).min(PACE * step);
                counts.shed += closed;
            }
            if let Some(end) = broker.stops_at {
                closed = (counts.streams * step).div_ceil(end.saturating_sub(now).max(step));
            }
            counts.streams -= closed;
            self.moved += closed;
            for _ in 0..closed {
                *self.returning.entry(now + self.rng.u64(1..=3)).or_default() += 1;
            }
        }
        self.connect(now, load);
    }

    fn connect(&mut self, now: u64, load: u64) {
        let later = self.returning.split_off(&(now + 1));
        let back: u64 = std::mem::replace(&mut self.returning, later).into_values().sum();
        let new = load.saturating_sub(self.load() + back);
        let serving: Vec<_> =
            self.brokers.iter().filter(|b| b.is_ready && b.stops_at.is_none()).collect();
        for _ in 0..back + new {
            serving[self.rng.usize(0..serving.len())].counts.lock().streams += 1;
        }
        for _ in 0..self.load().saturating_sub(load) {
            let broker = &self.brokers[self.rng.usize(0..self.brokers.len())];
            let mut counts = broker.counts.lock();
            counts.streams = counts.streams.saturating_sub(1);
        }
    }

    /// What the Deployment controller and the kubelet do until now: pods, their readiness, and the files with orders.
    pub(crate) async fn follow_operator(&mut self, now: u64) -> Result<()> {
        let began = Instant::now();
        // The pods last: they are marked before the number is lowered.
        let wanted = self.wanted().await?;
        let pods = self.pods.list(&ListParams::default()).await?;
        for broker in &mut self.brokers {
            let pod = pods.iter().find(|pod| pod.name_any() == broker.name);
            let order = pod.and_then(|pod| pod.annotations().get(ANNOTATION));
            let order = order.map(|text| serde_json::from_str::<Order>(text)).transpose()?;
            broker.ceiling = order.map(|order| order.ceiling);
        }
        let serving = self.brokers.iter().filter(|broker| broker.stops_at.is_none()).count();
        if wanted != serving {
            self.scalings.push(i64::try_from(wanted)? - i64::try_from(serving)?);
        }
        for _ in serving..wanted {
            let startup = self.rng.u64(STARTUP);
            self.start_broker(now + startup, 0).await?;
        }
        for name in by_deletion_cost(&pods.items).take(serving.saturating_sub(wanted)) {
            let found = self.brokers.iter_mut().find(|broker| broker.name == name);
            found.context("no such broker")?.stops_at = Some(now + DRAIN);
            self.pods.delete(&name, &DeleteParams::default().grace_period(600)).await?;
        }
        self.make_ready(now).await?;
        self.remove_stopped(now).await?;
        if wanted != serving {
            self.ns.make_ready(CHANNEL).await?;
        }
        self.longest_round = self.longest_round.max(began.elapsed() * SPEED);
        Ok(())
    }

    async fn wanted(&self) -> Result<usize> {
        let deployments: Api<Deployment> = self.ns.api();
        let spec = deployments.get_scale("orders-broker").await?.spec;
        Ok(usize::try_from(spec.and_then(|spec| spec.replicas).unwrap_or(1))?)
    }

    async fn start_broker(&mut self, ready_at: u64, streams: u64) -> Result<()> {
        let name = format!("orders-broker-{:04}", self.started);
        self.started += 1;
        let counts = Arc::new(Mutex::new(Counts { streams, shed: 0 }));
        let port = spawn(&mut self.servers, self.ns, CHANNEL, Arc::clone(&counts)).await?;
        pods::create(self.ns, CHANNEL, &name, port, running(None)).await?;
        let (is_ready, stops_at, ceiling) = (false, None, None);
        self.brokers.push(SimulatedBroker { name, counts, ready_at, is_ready, stops_at, ceiling });
        Ok(())
    }

    async fn make_ready(&mut self, now: u64) -> Result<()> {
        let due = |broker: &&mut SimulatedBroker| !broker.is_ready && broker.ready_at <= now;
        for broker in self.brokers.iter_mut().filter(due) {
            let since = Timestamp::now().as_millisecond() * i64::from(SPEED);
            let status = running(Some(Timestamp::from_millisecond(since)?));
            let patch = Patch::Merge(json!({"status": status}));
            self.pods.patch_status(&broker.name, &PatchParams::default(), &patch).await?;
            broker.is_ready = true;
        }
        Ok(())
    }

    async fn remove_stopped(&mut self, now: u64) -> Result<()> {
        let stopped = |broker: &SimulatedBroker| broker.stops_at.is_some_and(|end| end <= now);
        for broker in self.brokers.extract_if(.., |broker| stopped(broker)) {
            self.moved += broker.counts.lock().streams;
            self.pods.delete(&broker.name, &DeleteParams::default().grace_period(0)).await?;
        }
        Ok(())
    }
}

/// The names of the pods that are not being deleted, the cheapest to delete first.
fn by_deletion_cost(pods: &[Pod]) -> impl Iterator<Item = String> {
    let cost = |pod: &Pod| {
        let annotation = pod.annotations().get("controller.kubernetes.io/pod-deletion-cost");
        annotation.and_then(|cost| cost.parse::<i64>().ok()).unwrap_or(0)
    };
    let mut pods: Vec<_> =
        pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    pods.sort_by_key(|pod| cost(pod));
    pods.into_iter().map(ResourceExt::name_any)
}
