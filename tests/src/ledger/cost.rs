//! What a disturbance cost the subscribers of a run: how long they were without service, and what they missed. Pure.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, time::Duration};

use super::{Contact, Disturbance, Observed, Offence, Published, Verdict};
use crate::filter::Filter;

/// The cost of one disturbance: one line of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// What was done.
    pub name: String,
    /// How many subscribers there were.
    pub subscribers: usize,
    /// Events that were published.
    pub events: usize,
    /// Streams that were opened again.
    pub reconnects: usize,
    /// The longest time without service of any subscriber: from the end of its stream to the first event of the next one. It contains
    /// the delay that the broker asks of its clients.
    pub silence: Duration,
    /// The longest time between two events of any subscriber without a filter.
    pub pause: Duration,
    /// Deliveries that are missing.
    pub lost: usize,
    /// Deliveries that were declared lost.
    pub declared: usize,
    /// Deliveries that came twice.
    pub repeated: usize,
}

impl Cost {
    /// The head of the table, in Markdown.
    pub const HEAD: &str = "\
| disturbance | subscribers | events | reconnects | longest silence | longest pause between events | lost | declared lost | repeated |
|---|---|---|---|---|---|---|---|---|";

    /// The cost of the same disturbance for the subscribers of two channels.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        Self {
            name: self.name,
            subscribers: self.subscribers + other.subscribers,
            events: self.events + other.events,
            reconnects: self.reconnects + other.reconnects,
            silence: self.silence.max(other.silence),
            pause: self.pause.max(other.pause),
            lost: self.lost + other.lost,
            declared: self.declared + other.declared,
            repeated: self.repeated + other.repeated,
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, subscribers, events, reconnects, lost, declared, repeated, .. } = self;
        let [silence, pause] = [self.silence, self.pause].map(|time| time.as_secs_f64());
        write!(
            f,
            "| {name} | {subscribers} | {events} | {reconnects} | {silence:.2} s | {pause:.2} s | {lost} | {declared} | \
             {repeated} |"
        )
    }
}

/// The costs of `disturbances`, which are in order of time. Verdicts are those about `observed`, in the same order.
///
/// A missing event belongs to the disturbance during which it was published, a silence to the one during which the stream ended,
/// and a pause to the one during which it was over: the last event before a fault is older than the fault.
#[must_use]
pub fn costs(
    disturbances: &[Disturbance],
    published: &[Published],
    observed: &[Observed],
    verdicts: &[Verdict],
) -> Vec<Cost> {
    let of_time = |time: Duration| {
        disturbances.partition_point(|disturbance| disturbance.began <= time).checked_sub(1)
    };
    let began: HashMap<_, _> = published.iter().map(|event| (event.number, event.began)).collect();
    let of_event = |number: &u64| began.get(number).and_then(|began| of_time(*began));
    let mut costs: Vec<_> = disturbances
        .iter()
        .map(|disturbance| Cost {
            name: disturbance.name.clone(),
            subscribers: observed.len(),
            ..Cost::default()
        })
        .collect();
    for event in published {
        if let Some(at) = of_time(event.began) {
            costs[at].events += 1;
        }
    }
    for (observed, verdict) in observed.iter().zip(verdicts) {
        for Outage { began, ended, served } in outages(&observed.contact) {
            let Some(at) = of_time(began) else { continue };
            costs[at].reconnects += usize::from(served);
            costs[at].silence = costs[at].silence.max(ended - began);
        }
        if observed.filter == Filter::default() {
            for (last, next) in pauses(&observed.contact) {
                let Some(at) = of_time(next) else { continue };
                costs[at].pause = costs[at].pause.max(next - last);
            }
        }
        for offence in &verdict.offences {
            let (Offence::Missing { number, .. } | Offence::Repeated { number, .. }) = offence
            else {
                continue;
            };
            let Some(at) = of_event(number) else { continue };
            let is_missing = matches!(offence, Offence::Missing { .. });
            costs[at].lost += usize::from(is_missing);
            costs[at].repeated += usize::from(!is_missing);
        }
        for at in verdict.declared_lost.iter().filter_map(of_event) {
            costs[at].declared += 1;
        }
    }
    costs
}

/// A time without service.
struct Outage {
    began: Duration,
    ended: Duration,
    /// Whether the subscriber was served again.
    served: bool,
}

/// The times between the end of a stream and the first event of the next one, or the end of the run. Attempts that fail in between
/// are a part of it.
fn outages(contact: &[Contact]) -> Vec<Outage> {
    let (mut outages, mut lost) = (Vec::new(), None);
    let mut was_served = false;
    for contact in contact {
        match *contact {
            Contact::Served(ended) => {
                outages.extend(lost.take().map(|began| Outage { began, ended, served: true }));
                was_served = true;
            }
            Contact::Lost(at) if was_served => {
                lost.get_or_insert(at);
            }
            Contact::Stopped(ended) => {
                outages.extend(lost.take().map(|began| Outage { began, ended, served: false }));
            }
            Contact::Lost(_) | Contact::Event(_) => {}
        }
    }
    outages
}

/// Pairs of successive events, by their times.
fn pauses(contact: &[Contact]) -> impl Iterator<Item = (Duration, Duration)> {
    let time = |contact: &Contact| match contact {
        Contact::Event(at) => Some(*at),
        _ => None,
    };
    contact.iter().filter_map(time).zip(contact.iter().filter_map(time).skip(1))
}
