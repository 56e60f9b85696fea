//! Which channels may replace their brokers when the operator itself, not a person, has changed what is wanted: after an upgrade of the
//! operator, or with another default image. All channels differ then at once. Pure, and without memory: the answer follows from what is there,
//! so that another leader goes on where the last one was.
//!
//! One channel begins, the *canary*. When its brokers have been well for a while, others follow, a limited number at a time. After a rollout has
//! failed nobody begins, until its brokers are well, or the wanted template is another one.
//!
//! A person's change never waits, unless the channel is paused. It brings what the operator has changed along.

mod channel;
mod state;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;

pub use channel::{ChannelRollout, Failure, Progress, Settings, Template, Turn};
pub use state::{Begin, Counts, Gate, State};

use crate::owner::OwnerKey;

/// Rollouts that may be under way at the same time, if the settings do not say.
const MIN_ROLLOUTS: usize = 3;
const CHANNELS_PER_ROLLOUT: usize = 50;

/// Decides which rollouts may begin. A decision counts once the Deployment is written: the next look must see it.
#[must_use]
pub fn gate(settings: &Settings, channels: &[ChannelRollout]) -> Gate {
    let mut channels: Vec<_> = channels.iter().collect();
    channels.sort_by(|a, b| a.key.cmp(&b.key));
    let failed = channels.iter().find_map(|c| c.failure().map(|why| (&c.key, why)));
    let limit = settings
        .max_rollouts
        .unwrap_or_else(|| MIN_ROLLOUTS.max(channels.len() / CHANNELS_PER_ROLLOUT));
    let free = limit.saturating_sub(channels.iter().filter(|c| c.is_rolling()).count());
    let begin = if failed.is_some() { Vec::new() } else { next(settings, &channels, free) };

    let mut gate = Gate {
        begin: begin.iter().map(|c| Begin { key: c.key.clone(), is_well: c.is_well() }).collect(),
        ..Gate::default()
    };
    for channel in &channels {
        let halted = |(by, why): (&OwnerKey, Failure)| State::Halted { by: by.clone(), why };
        let state = match channel.template {
            Template::Outdated if channel.is_excluded() => State::Held,
            Template::ChangedByPerson if channel.paused => State::Held,
            Template::Outdated if begin.iter().any(|c| c.key == channel.key) => State::RollingOut,
            Template::Outdated => failed.map_or(State::Queued, halted),
            Template::ChangedByPerson => State::RollingOut,
            Template::Wanted | Template::RolledOut { .. } => match channel.failure() {
                Some(why) => halted((&channel.key, why)),
                None if channel.is_complete() => State::UpToDate,
                None => State::RollingOut,
            },
        };
        gate.insert(&channel.key, state);
    }
    gate
}

/// The channels that may begin now, if none has failed: at most `free`.
fn next<'a>(
    settings: &Settings,
    channels: &[&'a ChannelRollout],
    free: usize,
) -> Vec<&'a ChannelRollout> {
    let mut waiting: Vec<&ChannelRollout> = channels.to_vec();
    waiting.retain(|c| c.template == Template::Outdated && !c.is_excluded());
    // A channel without a broker that serves cannot be harmed, and perhaps this mends it. One with some brokers that do not run goes after
    // the others, which are not stopped by its failure.
    waiting.sort_by_key(|c| (Reverse(c.is_down()), !c.is_well(), c.turn, c.subscribers)); // then by name
    let (down, mut others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|c| c.is_down());
    match phase(settings, channels, &others) {
        Phase::Canary => {
            let with_clients = others.iter().position(|c| c.is_well() && c.subscribers > 0);
            let canary =
                with_clients.or_else(|| others.iter().position(|c| c.progress.desired > 0));
            others = canary.map(|index| vec![others[index]]).unwrap_or(others);
        }
        Phase::First => others.retain(|c| c.turn == Turn::First),
        Phase::Soaking => others.clear(),
        Phase::Open => {}
    }
    down.into_iter().chain(others).take(free).collect()
}

/// Who may begin.
enum Phase {
    /// One channel, to see whether the wanted template works.
    Canary,
    /// Those that are labelled `first`.
    First,
    /// Nobody, until the brokers of those that have begun have been well for a while.
    Soaking,
    /// Everybody.
    Open,
}

fn phase(settings: &Settings, channels: &[&ChannelRollout], waiting: &[&ChannelRollout]) -> Phase {
    let has_proved = |c: &ChannelRollout| c.has_proved(settings.soak);
    // What has failed without having been well before proves nothing, and nobody waits for it.
    let is_unproved = |c: &ChannelRollout| {
        let is_awaited = c.is_rolled_out() && !c.is_excluded() && c.progress.failure.is_none();
        is_awaited && c.progress.desired > 0 && !has_proved(c)
    };
    if waiting.iter().any(|c| c.turn == Turn::First) {
        return Phase::First;
    }
    if channels.iter().any(|c| c.turn == Turn::First && is_unproved(c)) {
        return Phase::Soaking;
    }
    if channels.iter().any(|c| has_proved(c)) {
        return Phase::Open;
    }
    if channels.iter().any(|c| is_unproved(c)) { Phase::Soaking } else { Phase::Canary }
}
