//! Which channels may replace their brokers when the operator itself, not a person, has changed what is wanted: after an upgrade of the
//! operator, or with another default image. All channels differ then at once. Pure, and without memory: the answer follows from what is there,
//! so that another leader goes on where the last one was.
//!
//! One channel begins, the *canary*. When its brokers have been healthy for a while, others follow, a limited number at a time. After a rollout has
//! failed, no other begins until the brokers of that channel are healthy or the wanted template changes.
//!
//! A person's change never waits, unless the channel is paused. It also applies what the operator has changed.

mod channel;
mod state;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;

pub use channel::{ChannelRollout, Failure, Progress, RolloutSettings, Template, Wave};
pub use state::{Begin, Counts, Gate, RolloutState};

use crate::owner::OwnerKey;

/// Rollouts that may be under way at the same time, if the settings do not say.
const MIN_ROLLOUTS: usize = 3;
const CHANNELS_PER_ROLLOUT: usize = 50;

/// Decides which rollouts may begin. A decision counts once the Deployment is written: the next look must see it.
#[must_use]
pub fn gate(settings: &RolloutSettings, channels: &[ChannelRollout]) -> Gate {
    let mut channels: Vec<_> = channels.iter().collect();
    channels.sort_by(|a, b| a.key.cmp(&b.key));
    let failed = channels.iter().find_map(|c| c.failure().map(|why| (&c.key, why)));
    let limit = settings
        .max_rollouts
        .unwrap_or_else(|| MIN_ROLLOUTS.max(channels.len() / CHANNELS_PER_ROLLOUT));
    let free = limit.saturating_sub(channels.iter().filter(|c| c.is_rolling()).count());
    let begin = if failed.is_some() { Vec::new() } else { next(settings, &channels, free) };

    let mut gate = Gate {
        begin: begin
            .iter()
            .map(|c| Begin { key: c.key.clone(), is_healthy: c.is_healthy() })
            .collect(),
        ..Gate::default()
    };
    for channel in &channels {
        let halted = |(by, why): (&OwnerKey, Failure)| RolloutState::Halted { by: by.clone(), why };
        let state = match channel.template {
            Template::Outdated if channel.is_excluded() => RolloutState::Held,
            Template::ChangedByPerson if channel.paused => RolloutState::Held,
            Template::Outdated if begin.iter().any(|c| c.key == channel.key) => {
                RolloutState::RollingOut
            }
            Template::Outdated => failed.map_or(RolloutState::Queued, halted),
            Template::ChangedByPerson => RolloutState::RollingOut,
            Template::Wanted | Template::RolledOut { .. } => match channel.failure() {
                Some(why) => halted((&channel.key, why)),
                None if channel.is_complete() => RolloutState::UpToDate,
                None => RolloutState::RollingOut,
            },
        };
        gate.insert(&channel.key, state);
    }
    gate
}

/// The channels that may begin now, if none has failed: at most `free`.
fn next<'a>(
    settings: &RolloutSettings,
    channels: &[&'a ChannelRollout],
    free: usize,
) -> Vec<&'a ChannelRollout> {
    let mut waiting: Vec<&ChannelRollout> = channels.to_vec();
    waiting.retain(|c| c.template == Template::Outdated && !c.is_excluded());
    // A channel without a broker that serves cannot be harmed, and perhaps this mends it. One with some brokers that do not run goes after
    // the others, which are not stopped by its failure.
    waiting.sort_by_key(|c| (Reverse(c.is_down()), !c.is_healthy(), c.wave, c.subscribers)); // then by name
    let (down, mut others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|c| c.is_down());
    match phase(settings, channels, &others) {
        Phase::Canary => {
            let with_clients = others.iter().position(|c| c.is_healthy() && c.subscribers > 0);
            let canary =
                with_clients.or_else(|| others.iter().position(|c| c.progress.desired > 0));
            others = canary.map(|index| vec![others[index]]).unwrap_or(others);
        }
        Phase::First => others.retain(|c| c.wave == Wave::First),
        Phase::Soaking => others.clear(),
        Phase::Open => {}
    }
    down.into_iter().chain(others).take(free).collect()
}

/// Which channels may begin.
enum Phase {
    /// One channel, to see whether the wanted template works.
    Canary,
    /// Those that are labelled `first`.
    First,
    /// None, until the brokers of those that have begun have been healthy for a while.
    Soaking,
    /// All.
    Open,
}

fn phase(
    settings: &RolloutSettings,
    channels: &[&ChannelRollout],
    waiting: &[&ChannelRollout],
) -> Phase {
    let has_proved = |c: &ChannelRollout| c.has_proved(settings.soak);
    // A channel that was unhealthy before and has failed proves nothing, and no other waits for it.
    let is_unproved = |c: &ChannelRollout| {
        let is_awaited = c.is_rolled_out() && !c.is_excluded() && c.progress.failure.is_none();
        is_awaited && c.progress.desired > 0 && !has_proved(c)
    };
    if waiting.iter().any(|c| c.wave == Wave::First) {
        return Phase::First;
    }
    if channels.iter().any(|c| c.wave == Wave::First && is_unproved(c)) {
        return Phase::Soaking;
    }
    if channels.iter().any(|c| has_proved(c)) {
        return Phase::Open;
    }
    if channels.iter().any(|c| is_unproved(c)) { Phase::Soaking } else { Phase::Canary }
}
