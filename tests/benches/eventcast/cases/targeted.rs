//! Events for one user each. Nobody else may be woken: one event to one of 10,000 costs at most twice what it costs when that user is
//! alone, and publishing to all of them, one after the other, reaches each exactly once.

use anyhow::Result;
use tokio::time::Instant;

use super::{Bench, blame};
use crate::{
    load::{
        Load,
        tally::{due, weight},
    },
    measure::quantile,
    report::{Reading, Target, Unit},
    server::{Channel, Server, Sync},
};

const SIZE: usize = 100;
/// Lines of a batch.
const BATCH: usize = 500;

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let (users, events) = bench.options.size((500, 100), (10_000, 1_000));
    let server = bench.broker(Sync::Seldom)?;
    let nobody = blame(&server, to_nobody(&server, users))?;
    let alone = blame(&server, Users::subscribe(bench, &server, 1)?.one(events))?;
    drop(server);
    let server = bench.broker(Sync::Seldom)?;
    let mut crowd = Users::subscribe(bench, &server, users)?;
    let each = blame(&server, crowd.each())?;
    let one = blame(&server, crowd.one(events))?;

    let case = format!("targeted {users}");
    let reading = |figure: &str, unit, value| Reading::new(&case, figure, unit, value);
    Ok(vec![
        reading("CPU per event to one user", Unit::Seconds, one.0)
            .to("alone", alone.0)
            .target(Target::RatioAtMost(2.0)),
        reading("latency of one user, median", Unit::Seconds, one.1)
            .to("alone", alone.1)
            .target(Target::RatioAtMost(2.0)),
        reading("CPU per event, one to each user", Unit::Seconds, each.0).to("nobody", nobody.0),
        reading("events, one to each user", Unit::PerSecond, each.1).to("nobody", nobody.1),
    ])
}

/// Users `0..count`, each subscribed to its topic.
struct Users<'a> {
    server: &'a Server,
    load: Load,
    /// Who is sent the single events.
    chosen: usize,
    /// Number of the next event.
    next: u32,
    /// What each must have got: how many, and the sum of their weights.
    due: Vec<(u32, u64)>,
}

impl<'a> Users<'a> {
    fn subscribe(bench: &Bench, server: &'a Server, count: usize) -> Result<Self> {
        let mut load = Load::new(server.address(), SIZE)?;
        let queries = (0..count).map(|user| format!("topic=user.{user}"));
        load.subscribe(queries.map(|query| server.subscribe(Channel::Main, &query, None)))?;
        bench.subscribed(server, count)?;
        load.publishers(1)?;
        Ok(Self { server, load, chosen: count / 2, next: 1, due: vec![(0, 0); count] })
    }

    /// Events to one user, each when the last has arrived: processor time of an event, and the median latency.
    fn one(&mut self, events: u32) -> Result<(f64, f64)> {
        let query = format!("topic=user.{}", self.chosen);
        let (first, end) = (self.next, self.next + events);
        let cpu = self.server.cpu()?;
        for number in first..end {
            let wanted = self.load.tally.deliveries + 1;
            let request = self.server.event(Channel::Main, &query, number, SIZE);
            self.load.tally.sent(number, Instant::now());
            self.load.send(0, &request, 1)?;
            self.load.until("the user has the event", |load| {
                load.tally.deliveries >= wanted && load.publishers[0].awaited == 0
            })?;
        }
        let cpu = (self.server.cpu()? - cpu) / f64::from(events);
        let (count, sum) = due(first..end);
        self.owe(self.chosen, count, sum);
        self.next = end;
        self.verify()?;
        let latency = |number| Ok(self.load.tally.to_last(number, 1)?.as_secs_f64());
        let mut latencies: Vec<f64> = (first..end).map(latency).collect::<Result<_>>()?;
        Ok((cpu, quantile(&mut latencies, 50)))
    }

    /// One event to each user, in no order: processor time of an event, and events a second.
    fn each(&mut self) -> Result<(f64, f64)> {
        let mut order: Vec<usize> = (0..self.due.len()).collect();
        fastrand::shuffle(&mut order);
        let (cpu, begin) = (self.server.cpu()?, Instant::now());
        for users in order.chunks(BATCH) {
            let first = self.next;
            let events = users.iter().zip(first..);
            let events = events.map(|(user, number)| (number, Some(format!("user.{user}"))));
            let request = self.server.batch(events, SIZE);
            for (user, number) in users.iter().zip(first..) {
                self.owe(*user, 1, weight(number));
                self.next = number + 1;
            }
            self.load.send_and_wait(&request, 1)?;
        }
        let wanted = order.len() as u64;
        self.load.until("every user has an event", |load| load.tally.deliveries >= wanted)?;
        let took = self.load.tally.last.unwrap_or(begin).saturating_duration_since(begin);
        let cpu = self.server.cpu()? - cpu;
        self.verify()?;
        Ok((cpu / wanted as f64, wanted as f64 / took.as_secs_f64()))
    }

    fn owe(&mut self, user: usize, count: u32, sum: u64) {
        let due = &mut self.due[user];
        *due = (due.0 + count, due.1.wrapping_add(sum));
    }

    fn verify(&self) -> Result<()> {
        self.load.verify(|user| self.due[user])
    }
}

/// The same batches while nobody is there: processor time of an event, and events a second.
fn to_nobody(server: &Server, events: usize) -> Result<(f64, f64)> {
    let mut load = Load::new(server.address(), SIZE)?;
    load.publishers(1)?;
    let (cpu, begin) = (server.cpu()?, Instant::now());
    let mut left = events;
    while left > 0 {
        let now = left.min(BATCH);
        let lines = (1..=u32::try_from(now)?).map(|n| (n, Some(format!("user.{n}"))));
        load.send_and_wait(&server.batch(lines, SIZE), 1)?;
        left -= now;
    }
    let took = begin.elapsed();
    Ok(((server.cpu()? - cpu) / events as f64, events as f64 / took.as_secs_f64()))
}
