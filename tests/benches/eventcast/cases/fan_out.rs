//! The measurement that several cases share: events to everyone, one group after the other has arrived everywhere.

use std::{rc::Rc, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::{Bench, blame};
use crate::{
    load::{Load, tally::due},
    measure::{quantile, tcp_memory},
    server::{Channel, Server, text::authorized},
};

/// Events before the first that is measured.
const WARM_UP: u32 = 5;
/// What is allocated after a subscription has been made shows within it.
const SETTLE: Duration = Duration::from_millis(500);

/// What is to be measured.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) subscribers: u32,
    /// Groups of events.
    pub(super) groups: u32,
    /// Events of a group, published at once.
    pub(super) burst: u32,
    /// Bytes of data of an event.
    pub(super) size: usize,
    /// Streams on each connection of HTTP/2; none: HTTP/1.1.
    pub(super) streams: Option<u32>,
    pub(super) subscription: Subscription,
    /// Whether subscribers use TLS.
    pub(super) tls: bool,
}

/// What subscribers ask for. Every event reaches all of them.
#[derive(Clone, Debug)]
pub(super) enum Subscription {
    Everything,
    /// Each has filters of its own by topic and type, as users have; the events pass them.
    Filters,
    /// Each asks for the topic of a user; the events are broadcasts.
    User,
    /// Each presents a token, and asks for what that grants; the events are broadcasts.
    Token(Rc<[String]>),
}

impl Plan {
    pub(super) fn new(subscribers: u32, groups: u32) -> Self {
        Self {
            subscribers,
            groups,
            burst: 1,
            size: 100,
            streams: None,
            subscription: Subscription::Everything,
            tls: false,
        }
    }
}

/// What was measured; times in seconds, memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) cpu: f64,
    pub(super) to_last: f64,
    pub(super) to_last_p99: f64,
    pub(super) memory: f64,
    pub(super) memory_after: f64,
    pub(super) kernel: f64,
}

impl Plan {
    /// Measures one server.
    pub(super) fn run(&self, bench: &Bench, server: &Server) -> Result<Outcome> {
        blame(server, self.measure(bench, server))
    }

    fn measure(&self, bench: &Bench, server: &Server) -> Result<Outcome> {
        let mut load = Load::new(server.address(), self.size)?;
        load.publishers(1)?;
        for _ in 0..WARM_UP {
            load.send_and_wait(&self.event(server, 0), 1)?; // nobody is there yet
        }
        let (rss, kernel) = (server.rss()?, tcp_memory()?);
        if self.tls {
            let protocol = if self.streams.is_some() { "h2" } else { "http/1.1" };
            load.use_tls(server.secure_address()?, protocol);
        }
        self.subscribe(server, &mut load)?;
        bench.subscribed(server, self.subscribers as usize)?;
        std::thread::sleep(SETTLE);
        let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / self.each();
        let (memory, kernel) = (each(server.rss()?, rss), each(tcp_memory()?, kernel));

        let mut next = 1;
        for _ in 0..WARM_UP {
            next = self.group(server, &mut load, next)?;
        }
        let (first, cpu) = (next, server.cpu()?);
        for _ in 0..self.groups {
            next = self.group(server, &mut load, next)?;
        }
        let cpu = (server.cpu()? - cpu) / (f64::from(next - first) * self.each());
        let memory_after = each(server.rss()?, rss);
        let everything = due(1..next);
        load.verify(|_| everything)?;
        ensure!(load.tally.disorder == 0, "{} events out of order", load.tally.disorder);
        let to_last = |number| Ok(load.tally.to_last(number, self.subscribers)?.as_secs_f64());
        let mut to_last: Vec<f64> = (first..next).map(to_last).collect::<Result<_>>()?;
        Ok(Outcome {
            cpu,
            to_last: quantile(&mut to_last, 50),
            to_last_p99: quantile(&mut to_last, 99),
            memory,
            memory_after,
            kernel,
        })
    }

    fn each(&self) -> f64 {
        f64::from(self.subscribers)
    }

    fn subscribe(&self, server: &Server, load: &mut Load) -> Result<()> {
        let Some(streams) = self.streams else {
            return load.subscribe((0..self.subscribers).map(|index| self.request(server, index)));
        };
        for first in (0..self.subscribers).step_by(streams as usize) {
            let all = first..(first + streams).min(self.subscribers);
            let targets: Vec<_> =
                all.map(|index| server.target(Channel::Main, &self.query(index))).collect();
            load.subscribe_streams(&targets)?;
        }
        Ok(())
    }

    fn query(&self, index: u32) -> String {
        match self.subscription {
            Subscription::Everything | Subscription::Token(_) => String::new(),
            Subscription::Filters => format!("topic=a.*&topic=user.{index}&type=x"),
            Subscription::User => format!("topic=user.{index}"),
        }
    }

    fn request(&self, server: &Server, index: u32) -> Vec<u8> {
        let request = server.subscribe(Channel::Main, &self.query(index), None);
        match &self.subscription {
            Subscription::Token(tokens) => authorized(&request, &tokens[index as usize]),
            _ => request,
        }
    }

    fn event(&self, server: &Server, number: u32) -> Vec<u8> {
        let query = match self.subscription {
            Subscription::Filters => "topic=a.b&type=x",
            _ => "",
        };
        server.event(Channel::Main, query, number, self.size)
    }

    /// Publishes the next group and waits until it has arrived everywhere.
    fn group(&self, server: &Server, load: &mut Load, first: u32) -> Result<u32> {
        let end = first + self.burst;
        let (request, answers) = match self.burst {
            1 => (self.event(server, first), 1),
            _ => server.burst(first..end, self.size),
        };
        let wanted = load.tally.deliveries + u64::from(self.burst) * u64::from(self.subscribers);
        let now = Instant::now();
        (first..end).for_each(|number| load.tally.sent(number, now));
        load.send(0, &request, answers)?;
        load.until("everyone has the event", |load| {
            load.tally.deliveries >= wanted && load.publishers[0].awaited == 0
        })?;
        Ok(end)
    }
}
