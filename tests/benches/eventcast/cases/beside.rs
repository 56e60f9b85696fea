//! A few readers and a steady publisher beside a case's load, on a thread of their own: their latency is not to be that of the load
//! generator's own queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc::sync_channel,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::time::Instant;

use crate::{
    load::{Load, tally::due},
    measure::Histogram,
    server::{Channel, Server},
};

/// Connections that publish: a publish that is answered late does not hold back the next.
const PUBLISHERS: usize = 8;
/// Phases whose latencies are kept apart.
const PHASES: usize = 3;

/// What runs beside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) channel: Channel,
    /// What the readers ask for, and what events are published with.
    pub(super) query: &'static str,
    pub(super) readers: usize,
    pub(super) per_second: u32,
    /// Number of the first event.
    pub(super) first: u32,
    pub(super) size: usize,
    /// Whether the readers use TLS.
    pub(super) tls: bool,
}

/// It runs until [`finish`](Self::finish).
pub(super) struct Beside {
    stop: Arc<AtomicBool>,
    phase: Arc<AtomicUsize>,
    thread: JoinHandle<Result<Done>>,
}

/// What it saw.
#[derive(Debug)]
pub(super) struct Done {
    /// Latencies by phase, each from when the event was due.
    pub(super) latencies: [Histogram; PHASES],
    /// Number after the last event's.
    pub(super) end: u32,
}

impl Beside {
    /// Connects the readers, and begins to publish once all are there.
    pub(super) fn start(server: &Arc<Server>, plan: Plan) -> Result<Self> {
        let (stop, phase) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ready, readiness) = sync_channel(1);
        let thread = thread::spawn({
            let (server, stop, phase) = (Arc::clone(server), Arc::clone(&stop), Arc::clone(&phase));
            move || {
                let mut load = Load::new(server.address(), plan.size)?;
                if plan.tls {
                    load.use_tls(server.secure_address()?, "http/1.1");
                }
                load.subscribe(
                    (0..plan.readers).map(|_| server.subscribe(plan.channel, plan.query, None)),
                )?;
                load.publishers(PUBLISHERS)?;
                ready.send(()).context("nobody waits")?;
                run(&server, plan, load, &stop, &phase)
            }
        });
        let beside = Self { stop, phase, thread };
        match readiness.recv() {
            Ok(()) => Ok(beside),
            Err(_) => match beside.finish() {
                Ok(_) => Err(anyhow!("it ended before it began")),
                Err(error) => Err(error),
            },
        }
    }

    /// Latencies from now on are of this phase.
    pub(super) fn phase(&self, phase: usize) {
        self.phase.store(phase, SeqCst);
    }

    /// Publishes no more, and waits until every reader has every event.
    pub(super) fn finish(self) -> Result<Done> {
        self.stop.store(true, SeqCst);
        self.thread.join().map_err(|_| anyhow!("the thread beside panicked"))?
    }
}

fn run(
    server: &Server,
    plan: Plan,
    mut load: Load,
    stop: &AtomicBool,
    phase: &AtomicUsize,
) -> Result<Done> {
    let mut latencies: [Histogram; PHASES] = Default::default();
    let (begin, mut current, mut next) = (Instant::now(), 0, plan.first);
    while !stop.load(SeqCst) {
        let at = begin + Duration::from_secs(1) * (next - plan.first) / plan.per_second;
        let event = || server.event(plan.channel, plan.query, next, plan.size);
        if load.publish_when_due(next, at, event)? {
            next += 1;
        }
        let wanted = phase.load(SeqCst);
        if wanted != current {
            latencies[current] = std::mem::take(&mut load.tally.latencies);
            current = wanted;
        }
    }
    let wanted = u64::from(next - plan.first) * plan.readers as u64;
    load.until("every reader beside has every event", |load| load.tally.deliveries >= wanted)?;
    latencies[current] = std::mem::take(&mut load.tally.latencies);
    let everything = due(plan.first..next);
    load.verify(|_| everything).context("the readers beside")?;
    Ok(Done { latencies, end: next })
}
