//! Which brokers should close streams. Kubernetes spreads new connections at random and never moves one, so after a scale-up or a failure
//! some brokers have far more streams than others. Perfect balance is not wanted: each stream that is closed lands on such a broker again
//! with some probability.

use std::time::Duration;

use super::{
    counts::Look,
    episode::{Course, Episode},
    input::{DeploymentState, Spec},
    output::{AutopilotEvent, GivenUp, Orders},
    spread::{Spread, floor},
};

/// How long an order is in force. Each look writes new ones.
const ORDER_DURATION: Duration = Duration::from_secs(60);
/// A broker gets its share of new connections once it has been ready for this long.
const SETTLE_TIME: Duration = Duration::from_secs(30);
/// Looks in a row that must show an imbalance.
const MIN_IMBALANCED_LOOKS: u32 = 3;
/// The pause after the first failure, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(3600);
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// What has to be remembered of earlier looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Balancer {
    generation: i64,
    /// Looks in a row that have shown an imbalance.
    imbalanced: u32,
    episode: Option<Episode>,
    pause: Option<Pause>,
    /// What is wrong, as long as the imbalance lasts.
    problem: Option<GivenUp>,
    /// Whether the present imbalance was reported, when only observing.
    is_reported: bool,
}

/// No attempt is made for a while, because the last one did not help.
#[derive(Clone, Debug)]
struct Pause {
    until: Duration,
    length: Duration,
    why: GivenUp,
}

impl Balancer {
    /// Whether streams are being moved.
    pub(super) fn is_rebalancing(&self) -> bool {
        self.episode.is_some()
    }

    /// What is wrong with the balance.
    pub(super) fn problem(&self) -> Option<GivenUp> {
        self.problem
    }

    /// Decides. `may_move`: nothing else changes, and clients that are moved can resume.
    pub(super) fn decide(
        &mut self,
        now: Duration,
        spec: &Spec,
        deployment: &DeploymentState,
        look: &Look<'_>,
        may_move: bool,
        events: &mut Vec<AutopilotEvent>,
    ) -> Option<Orders> {
        if self.generation != spec.generation {
            self.generation = spec.generation;
            (self.pause, self.problem) = (None, None);
        }
        if !spec.balancing {
            (self.pause, self.problem) = (None, None);
        }
        let spread = Spread::new(look, floor(spec));
        let spread = spread.filter(|_| look.serving().count() > 1 && may_move && spec.balancing);
        let Some(spread) = spread.filter(|_| deployment.may_patch_pods) else {
            self.interrupt(events);
            return None;
        };
        if !is_settled(deployment, look) {
            self.imbalanced = 0;
            if self.episode.as_mut().is_some_and(|episode| episode.wait(now, look.shed)) {
                self.interrupt(events);
            }
            return None;
        }
        self.imbalanced = if spread.fullest > spread.threshold { self.imbalanced + 1 } else { 0 };
        if spread.over.is_empty() {
            (self.problem, self.is_reported) = (None, false);
        }
        if deployment.observe_only {
            self.observe(&spread, events);
            return None;
        }
        if !self.continues(now, &spread, look, events) && !self.begins(now, &spread, events) {
            return None;
        }
        Some(Orders { ceiling: spread.ceiling, duration: ORDER_DURATION, brokers: spread.over })
    }

    /// Ends an episode because something else changes.
    fn interrupt(&mut self, events: &mut Vec<AutopilotEvent>) {
        self.imbalanced = 0;
        if let Some(episode) = self.episode.take() {
            events.push(AutopilotEvent::RebalanceInterrupted { moved: episode.moved() });
        }
    }

    fn observe(&mut self, spread: &Spread, events: &mut Vec<AutopilotEvent>) {
        self.interrupt_only_episode(events);
        if self.imbalanced >= MIN_IMBALANCED_LOOKS && !self.is_reported {
            self.is_reported = true;
            events.push(AutopilotEvent::WouldRebalance {
                brokers: spread.over.len(),
                streams: spread.due,
            });
        }
    }

    fn interrupt_only_episode(&mut self, events: &mut Vec<AutopilotEvent>) {
        let imbalanced = self.imbalanced;
        self.interrupt(events);
        self.imbalanced = imbalanced;
    }

    /// Whether an episode goes on.
    fn continues(
        &mut self,
        now: Duration,
        spread: &Spread,
        look: &Look<'_>,
        events: &mut Vec<AutopilotEvent>,
    ) -> bool {
        let Some(episode) = &mut self.episode else { return false };
        let course = episode.judge(now, spread, look.shed);
        let moved = episode.moved();
        match course {
            Course::GoesOn => return true,
            Course::Done => {
                self.pause = None;
                events.push(AutopilotEvent::Rebalanced { moved });
            }
            Course::GivenUp(why) => {
                let length = self.pause.as_ref().map_or(FIRST_PAUSE, |pause| pause.length * 2);
                let length = length.min(MAX_PAUSE);
                self.pause = Some(Pause { until: now + length, length, why });
                self.problem = Some(why);
                events.push(AutopilotEvent::RebalanceGivenUp { why, moved, retry_in: length });
            }
        }
        (self.episode, self.imbalanced) = (None, 0);
        false
    }

    /// Whether an episode begins.
    fn begins(&mut self, now: Duration, spread: &Spread, events: &mut Vec<AutopilotEvent>) -> bool {
        if self.imbalanced < MIN_IMBALANCED_LOOKS {
            return false;
        }
        if let Some(pause) = self.pause.as_ref().filter(|pause| now < pause.until) {
            self.problem = Some(pause.why);
            return false;
        }
        self.episode = Some(Episode::new(now, spread));
        self.problem = None;
        events
            .push(AutopilotEvent::Rebalancing { brokers: spread.over.len(), streams: spread.due });
        true
    }
}

/// Whether all counts are known, and every broker has had the time to get its share.
fn is_settled(deployment: &DeploymentState, look: &Look<'_>) -> bool {
    let is_settled = |counted: &super::counts::Counted<'_>| {
        let broker = counted.broker;
        match broker.ready_for {
            // It is gone with its node if it does not answer: its clients have gone elsewhere.
            _ if broker.terminating => !counted.known,
            None => deployment.unschedulable,
            Some(ready_for) => ready_for >= SETTLE_TIME,
        }
    };
    !look.missing && look.brokers.iter().all(is_settled)
}
