//! The clock of the autopilot: that of the machine, unless a measurement replays a day of load in minutes.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A clock that is `speed` times as fast as that of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    speed: u32,
}

impl Clock {
    /// Starts now. `speed`: 1 to 100; a year of the Unix epoch has four digits then.
    #[must_use]
    pub fn new(speed: u32) -> Self {
        Self { began: Instant::now(), speed }
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.began.elapsed() * self.speed
    }

    /// The time since the Unix epoch, as fast: a reader who knows the speed can convert a time.
    #[must_use]
    pub fn now(self) -> Timestamp {
        let now = Timestamp::now();
        let fast = now.as_millisecond().saturating_mul(self.speed.into());
        Timestamp::from_millisecond(fast).unwrap_or(now)
    }

    /// How long `duration` lasts on the machine.
    #[must_use]
    pub fn on_machine(self, duration: Duration) -> Duration {
        duration / self.speed
    }
}
