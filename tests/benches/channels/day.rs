//! A day of load against the operator, a hundred times as fast: its clock, the brokers and the clients. Each broker is a pod without a kubelet and
//! an admin listener; clients are numbers. `operator/src/autopilot/tests/days.rs` simulates the same day with the plan alone.

use std::time::Duration;

use anyhow::{Context as _, Result};
use eventcast_tests::namespace::TestNamespace;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::fleet::{CHANNEL, Fleet};

/// How much faster time passes.
pub(crate) const SPEED: u32 = 100;
/// Seconds of the day between two steps of the clients.
const STEP: u64 = 5;
const DAY: u64 = 24 * 3600;
const TARGET: u64 = 10_000;

/// What the day has cost.
#[derive(Default)]
struct Day {
    broker_hours: f64,
    stream_hours: f64,
    minutes_crowded: u32,
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) async fn run() -> Result<()> {
    let seconds: u64 = std::env::var("DAY_SECONDS").map_or(Ok(DAY), |n| n.parse())?;
    let ns = TestNamespace::start_with(&[&format!("--autopilot-speed={SPEED}")]).await?;
    let spec = json!({"brokers": {"autoscaling": {
        "minReplicas": 1, "maxReplicas": 40, "subscribersPerBroker": TARGET,
    }}});
    ns.apply(CHANNEL, spec).await?;
    ns.settled(CHANNEL).await?;
    let mut fleet = Fleet::start(&ns, load(0), TARGET).await?;
    let (began, mut day) = (Instant::now(), Day::default());
    let mut tick = interval(Duration::from_secs(STEP) / SPEED);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut now = 0;
    while now < seconds {
        tick.tick().await;
        let elapsed = (began.elapsed() * SPEED).as_secs();
        while now + STEP <= elapsed {
            now += STEP;
            fleet.step(now, STEP, load(now));
            day.count(&fleet, now);
        }
        fleet.follow_operator(now).await.with_context(|| format!("second {now} of the day"))?;
    }
    let turns = fleet.scalings.windows(2).filter(|pair| (pair[0] > 0) != (pair[1] > 0)).count();
    println!("scalings                      {}, {turns} turns", fleet.scalings.len());
    println!("broker hours                  {:.1}", day.broker_hours);
    let moves = fleet.moved as f64 / day.stream_hours;
    println!("moves per stream and hour     {moves:.3}");
    println!("minutes with a broker above 1.3 of its target  {}", day.minutes_crowded);
    println!("longest round of requests     {:.0} s of the day", fleet.longest_round.as_secs_f64());
    Ok(())
}

impl Day {
    fn count(&mut self, fleet: &Fleet<'_>, now: u64) {
        let hours = STEP as f64 / 3600.0;
        self.broker_hours += fleet.brokers.len() as f64 * hours;
        self.stream_hours += fleet.load() as f64 * hours;
        let is_crowded = fleet.streams().any(|streams| streams > TARGET * 13 / 10);
        self.minutes_crowded += u32::from(now.is_multiple_of(60) && is_crowded);
    }
}

/// Peak 100,000 at 20 h, trough 30 %, and half more within a minute at the peak.
fn load(second: u64) -> u64 {
    let hour = second as f64 / 3600.0;
    let base = 65_000.0 + 35_000.0 * ((hour - 20.0) / 24.0 * std::f64::consts::TAU).cos();
    let spike = match second {
        0..72_000 => 0.0,
        72_000..72_060 => (second - 72_000) as f64 / 60.0,
        _ => (1.0 - (second - 72_060) as f64 / 7200.0).max(0.0),
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
    let load = (base * (1.0 + 0.5 * spike)) as u64;
    load
}
