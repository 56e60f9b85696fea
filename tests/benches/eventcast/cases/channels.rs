//! Many channels in one process: a few subscribers and a slow publisher on each, and none at all.
//!
//! The floor delivers as many events to as many sockets, from one channel. What the broker and its nats-server need for channels that
//! nobody uses is compared with what they need for the two channels of every case.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::{Bench, blame};
use crate::{
    load::{Load, tally::weight},
    report::{Reading, Target, Unit},
    server::{Channel, Server, Sync},
};

const SIZE: usize = 100;
/// Subscribers of each channel.
const SUBSCRIBERS: u32 = 10;
/// Connections that publish: a publish that is answered late does not hold back the next.
const PUBLISHERS: usize = 16;
/// After the start, and after everyone has subscribed: until what that brings has been done.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let few = bench.broker(Sync::Seldom)?;
    let few = blame(&few, idle(bench, &few))?;
    let mut readings = busy(bench, &few)?;
    readings.extend(unused(bench, &few)?);
    Ok(readings)
}

/// An event a second on each channel.
fn busy(bench: &Bench, few: &Idle) -> Result<Vec<Reading>> {
    let (channels, seconds) = bench.options.size((50, 2), (1_000, 10));
    let floor = bench.floor()?;
    let base = blame(&floor, Plan { channels: None, each_second: channels, seconds }.run(&floor))?;
    drop(floor);
    let server = bench.broker_with_channels(channels)?;
    let memory = memory(&server, few, channels)?;
    let plan = Plan { channels: Some(channels), each_second: channels, seconds };
    let ours = blame(&server, plan.run(&server))?;
    let case = format!("channels {channels} x {SUBSCRIBERS}");
    let seconds = |figure: &str, value| Reading::new(&case, figure, Unit::Seconds, value);
    Ok(vec![
        seconds("CPU per delivery", ours.cpu).to("floor", base.cpu),
        seconds("latency, median", ours.median).to("floor", base.median),
        seconds("latency, p99", ours.p99).to("floor", base.p99),
        Reading::new(&case, "wake-ups", Unit::PerSecond, ours.sleeps).to("floor", base.sleeps),
        seconds("CPU of nats-server per second", ours.nats),
        Reading::new(&case, "memory per channel", Unit::Bytes, memory),
    ])
}

/// Nobody uses the channels.
fn unused(bench: &Bench, few: &Idle) -> Result<Vec<Reading>> {
    let channels = bench.options.size(100, 10_000);
    let server = bench.broker_with_channels(channels)?;
    let memory = memory(&server, few, channels)?;
    let idle = blame(&server, idle(bench, &server))?;
    let case = format!("channels {channels}, idle");
    let seconds = |figure: &str, value| Reading::new(&case, figure, Unit::Seconds, value);
    Ok(vec![
        seconds("CPU per second", idle.cpu)
            .to("two channels", few.cpu)
            .target(Target::AtMost(0.01)),
        seconds("CPU of nats-server per second", idle.nats)
            .to("two channels", few.nats)
            .target(Target::AtMost(0.01)),
        Reading::new(&case, "memory per channel", Unit::Bytes, memory),
    ])
}

/// What a broker with unused channels needs.
struct Idle {
    rss: u64,
    /// Processor time in a second.
    cpu: f64,
    nats: f64,
}

fn idle(bench: &Bench, server: &Server) -> Result<Idle> {
    thread::sleep(SETTLE);
    let length = Duration::from_secs(bench.options.size(1, 10));
    let before = (server.cpu()?, server.nats_cpu()?);
    thread::sleep(length);
    let of = |now: f64, before: f64| (now - before) / length.as_secs_f64();
    let (cpu, nats) = (of(server.cpu()?, before.0), of(server.nats_cpu()?, before.1));
    Ok(Idle { rss: server.rss()?, cpu, nats })
}

/// Bytes of each of `channels` that are more than in `few`.
fn memory(server: &Server, few: &Idle, channels: u32) -> Result<f64> {
    thread::sleep(SETTLE);
    Ok(server.rss()?.saturating_sub(few.rss) as f64 / f64::from(channels))
}

struct Plan {
    /// None: everything is in the channel of every case.
    channels: Option<u32>,
    each_second: u32,
    seconds: u32,
}

struct Outcome {
    /// For a delivery.
    cpu: f64,
    median: f64,
    p99: f64,
    /// In a second.
    sleeps: f64,
    nats: f64,
}

impl Plan {
    fn channel(&self, index: u32) -> Channel {
        self.channels.map_or(Channel::Main, |channels| Channel::Numbered(index % channels))
    }

    fn run(&self, server: &Server) -> Result<Outcome> {
        let mut load = Load::new(server.address(), SIZE)?;
        let all = self.channels.unwrap_or(1) * SUBSCRIBERS;
        load.subscribe(
            (0..all).map(|index| server.subscribe(self.channel(index / SUBSCRIBERS), "", None)),
        )?;
        load.publishers(PUBLISHERS)?;
        let mut next = self.publish(server, &mut load, 0, 2)?; // the first events wake what slept
        load.tally.latencies = Default::default();
        let before = (server.cpu()?, server.nats_cpu()?, server.sleeps()?, Instant::now());
        let first = next;
        next = self.publish(server, &mut load, next, self.seconds)?;
        let took = before.3.elapsed().as_secs_f64();
        let deliveries = f64::from(next - first) * f64::from(SUBSCRIBERS);
        let outcome = Outcome {
            cpu: (server.cpu()? - before.0) / deliveries,
            median: load.tally.latencies.quantile(50),
            p99: load.tally.latencies.quantile(99),
            sleeps: (server.sleeps()? - before.2) as f64 / took,
            nats: (server.nats_cpu()? - before.1) / took,
        };
        self.verify(&load, next)?;
        Ok(outcome)
    }

    /// Publishes one event after the other for so long, and waits until everyone has them. Returns the number after the last.
    fn publish(&self, server: &Server, load: &mut Load, first: u32, seconds: u32) -> Result<u32> {
        let (begin, end) = (Instant::now(), first + self.each_second * seconds);
        let mut next = first;
        while next < end {
            let at = begin + Duration::from_secs(1) * (next - first) / self.each_second;
            let event = || server.event(self.channel(next), "", next, SIZE);
            if load.publish_when_due(next, at, event)? {
                next += 1;
            }
        }
        let wanted = u64::from(end) * u64::from(SUBSCRIBERS);
        load.until("everyone has every event", |load| load.tally.deliveries >= wanted)?;
        Ok(end)
    }

    /// Every subscriber got the events of its channel, once each and in order.
    fn verify(&self, load: &Load, end: u32) -> Result<()> {
        let channels = self.channels.unwrap_or(1);
        load.verify(|subscriber| {
            let channel = u32::try_from(subscriber).unwrap_or(0) / SUBSCRIBERS;
            let numbers = (channel..end).step_by(channels as usize);
            numbers
                .fold((0, 0), |(count, sum), number| (count + 1, sum.wrapping_add(weight(number))))
        })?;
        let late = load.tally.disorder;
        ensure!(self.channels.is_none() || late == 0, "{late} events out of order");
        Ok(())
    }
}
