//! Does what the autopilot has planned: marks and orders of pods, decisions, Events, metrics.

use std::collections::{BTreeSet, HashMap};

use eventcast_crds::orders::{self, Order};
use eventcast_runtime::Chain;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use tokio::time::{Duration, Instant};

use super::{Looks, Watched};
use crate::{
    autopilot::{AutopilotEvent, Orders, Plan},
    decisions::Decision,
    names::DELETION_COST_ANNOTATION,
    pod_marks::{MarkError, PodMarks, VICTIM_COST},
    status::{ConditionState, conditions},
};

/// After the API server has refused to annotate a pod, it is tried again after this time.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(300);

/// Carries out the plans of all channels.
pub(super) struct Actor<'a> {
    looks: &'a Looks<'a>,
    marks: PodMarks<'a>,
    forbidden: Option<Instant>,
    /// Pods whose mark somebody else owns, or whose mark could not be removed: they are left alone.
    foreign: BTreeSet<String>,
    /// The imbalance of each channel, by its uid.
    imbalances: HashMap<String, f64>,
}

impl<'a> Actor<'a> {
    pub(super) fn new(looks: &'a Looks<'a>) -> Self {
        let marks = PodMarks::new(looks.client, looks.fence, looks.metrics);
        let (foreign, imbalances) = (BTreeSet::new(), HashMap::new());
        Self { looks, marks, forbidden: None, foreign, imbalances }
    }

    /// Whether the API server has not refused it lately.
    pub(super) fn may_patch_pods(&self) -> bool {
        self.forbidden.is_none_or(|at| at.elapsed() > FORBIDDEN_PAUSE)
    }

    /// Forgets the pods and channels that are not in `watched`.
    pub(super) fn retain(&mut self, watched: &[Watched]) {
        let pods = watched.iter().flat_map(|watched| &watched.pods);
        let pods: BTreeSet<_> = pods.filter_map(|pod| pod.uid()).collect();
        self.foreign.retain(|uid| pods.contains(uid));
        let channels: BTreeSet<_> =
            watched.iter().map(|watched| &*watched.workload.owner.uid).collect();
        self.imbalances.retain(|uid, _| channels.contains(&**uid));
    }

    /// Carries out the plan of one channel.
    pub(super) async fn act(&mut self, watched: &Watched, plan: Plan, now: Timestamp) {
        if self.looks.settings.autopilot && self.may_patch_pods() {
            self.mark_victims(watched, &plan.victims).await;
            self.write_orders(watched, &plan, now).await;
        }
        for event in &plan.events {
            self.publish(watched, event).await;
        }
        let uid = watched.workload.owner.uid.clone();
        self.imbalances.insert(uid, plan.imbalance.unwrap_or(1.0));
        let Looks { decisions, .. } = self.looks;
        let decision = Decision {
            replicas: plan.replicas.or(decisions.of(watched.key()).replicas),
            autoscaled: plan.autoscaled.map(|state| {
                condition(state.reason.status(), state.reason.as_str(), state.message)
            }),
            balanced: plan.balanced.map(|state| {
                condition(Some(state.reason.status()), state.reason.as_str(), state.message)
            }),
        };
        if decisions.set(watched.key(), decision) {
            watched.scope.request(watched.key()).await;
        }
    }

    /// Sets the gauges of all channels.
    pub(super) fn set_metrics(&self, watched: &[Watched]) {
        let mut channels = HashMap::new();
        for watched in watched {
            let decision = self.looks.decisions.of(watched.key());
            let states = [
                (conditions::AUTOSCALED, decision.autoscaled),
                (conditions::BALANCED, decision.balanced),
            ];
            for (condition, state) in states {
                let Some(state) = state else { continue };
                *channels.entry((condition, state.reason)).or_default() += 1;
            }
        }
        let imbalance = self.imbalances.values().copied().fold(1.0, f64::max);
        self.looks.metrics.set_autopilot(imbalance, &channels);
    }

    /// Marks the victims, and removes the marks of others: of an earlier leader, or of a step that was not taken.
    async fn mark_victims(&mut self, watched: &Watched, victims: &[String]) {
        for pod in &watched.pods {
            let is_victim = victims.contains(&pod.name_any());
            let cost = pod.annotations().get(DELETION_COST_ANNOTATION);
            let is_marked = cost.is_some_and(|cost| cost == VICTIM_COST);
            let uid = pod.uid().unwrap_or_default();
            let is_ending = pod.metadata.deletion_timestamp.is_some();
            if is_victim == is_marked || is_ending || self.foreign.contains(&uid) {
                continue;
            }
            let result = self.marks.mark_victim(pod, is_victim).await;
            // A mark that stays after its removal belongs to somebody else.
            if !is_victim || matches!(result, Err(MarkError::Conflict(_))) {
                self.foreign.insert(uid);
            }
            self.check_written(watched, pod, result).await;
        }
    }

    /// Writes the orders, or removes those of an earlier episode.
    async fn write_orders(&mut self, watched: &Watched, plan: &Plan, now: Timestamp) {
        let order = plan.orders.as_ref().map(|orders| order(orders, now));
        for pod in &watched.pods {
            let is_ordered =
                plan.orders.as_ref().is_some_and(|orders| orders.brokers.contains(&pod.name_any()));
            let has_order = pod.annotations().contains_key(orders::ANNOTATION);
            let ends = has_order && !plan.rebalancing;
            if pod.metadata.deletion_timestamp.is_some() || !(is_ordered || ends) {
                continue;
            }
            let result = self.marks.order(pod, order.as_ref().filter(|_| is_ordered)).await;
            self.check_written(watched, pod, result).await;
        }
    }

    /// Handles a failed annotation: it is logged, and pods are left alone for a while if the API server forbids it.
    async fn check_written(&mut self, watched: &Watched, pod: &Pod, result: Result<(), MarkError>) {
        let error = match result {
            Ok(()) => return,
            Err(error) => error,
        };
        if matches!(error, MarkError::Forbidden) {
            self.forbidden = Some(Instant::now());
        }
        if let MarkError::Conflict(annotation) = &error {
            let note = format!(
                "the annotation {annotation} of pod {} belongs to another client, so Kubernetes may remove another broker first",
                pod.name_any()
            );
            self.looks
                .events
                .autopilot(&reference(watched), true, "ForeignDeletionCost", note)
                .await;
        }
        tracing::warn!(channel = %watched.key(), pod = pod.name_any(), error = %Chain(&error), "cannot annotate a broker");
    }

    async fn publish(&self, watched: &Watched, event: &AutopilotEvent) {
        let (is_warning, reason, note) = text(event);
        self.looks.metrics.autopilot_event(event);
        tracing::info!(channel = %watched.key(), reason, "{note}");
        self.looks.events.autopilot(&reference(watched), is_warning, reason, note).await;
    }
}

fn condition(status: Option<bool>, reason: &'static str, message: String) -> ConditionState {
    ConditionState { status, reason, message, is_transient: false }
}

fn reference(watched: &Watched) -> k8s_openapi::api::core::v1::ObjectReference {
    watched.raw.object_ref(&watched.key().kind.resource())
}

fn order(orders: &Orders, now: Timestamp) -> Order {
    Order {
        format: orders::FORMAT,
        id: format!("{:016x}", fastrand::u64(..)),
        at: now.as_second(),
        ceiling: orders.ceiling,
        seconds: orders.duration.as_secs(),
    }
}

/// What Kubernetes gets as an Event: whether it is a warning, its reason, its note.
fn text(event: &AutopilotEvent) -> (bool, &'static str, String) {
    match event {
        AutopilotEvent::ScaledUp { from, to } => {
            (false, "ScaledUp", format!("scaled from {from} to {to} brokers: the load needs them"))
        }
        AutopilotEvent::ScaledDown { from, to } => (
            false,
            "ScaledDown",
            format!(
                "scaled from {from} to {to} brokers: fewer were enough for the whole stabilization window"
            ),
        ),
        AutopilotEvent::WouldScale { from, to } => (
            false,
            "WouldScale",
            format!(
                "would scale from {from} to {to} brokers, but the annotation eventcast.dev/autopilot is Observe"
            ),
        ),
        AutopilotEvent::Rebalancing { brokers, streams } => (
            false,
            "Rebalancing",
            format!(
                "{brokers} brokers have far more streams than others: about {streams} streams will reconnect, at an even pace"
            ),
        ),
        AutopilotEvent::WouldRebalance { brokers, streams } => (
            false,
            "WouldRebalance",
            format!(
                "{brokers} brokers have far more streams than others: about {streams} streams would reconnect, but the annotation eventcast.dev/autopilot is Observe"
            ),
        ),
        AutopilotEvent::Rebalanced { moved } => (
            false,
            "Rebalanced",
            format!("streams are balanced: {moved} were closed and reconnected"),
        ),
        AutopilotEvent::RebalanceInterrupted { moved } => (
            false,
            "RebalanceInterrupted",
            format!(
                "stopped balancing after {moved} streams, because the brokers are changing; it begins again if it is still needed"
            ),
        ),
        AutopilotEvent::RebalanceGivenUp { why, moved, retry_in } => {
            let minutes = retry_in.as_secs() / 60;
            (
                true,
                "RebalanceGivenUp",
                format!(
                    "gave up balancing after {moved} streams ({why:?}); the next attempt is in {minutes} minutes"
                ),
            )
        }
        AutopilotEvent::ForeignAutoscaler { name } => (
            true,
            "ForeignAutoscaler",
            format!(
                "HorizontalPodAutoscaler {name} scales the same brokers: delete it, or set brokers.autoscaling.by to HorizontalPodAutoscaler"
            ),
        ),
    }
}
