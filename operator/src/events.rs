//! Publishes Kubernetes Events about a channel or pool: one for each change. A failure to publish is logged and does not fail the
//! reconciliation.

use eventcast_runtime::Chain;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{
    autopilot::{Autoscaled, Balanced},
    names::FIELD_MANAGER,
    status::{conditions, reasons},
    stream::StreamChange,
};

/// Publishes Events about channels.
#[derive(Clone)]
pub struct Events(Recorder);

/// Reasons of `Autoscaled` and `Balanced` that have no Event of the autopilot.
const AUTOPILOT_REASONS_WITHOUT_EVENT: [&str; 3] =
    [Autoscaled::AtMaximum.as_str(), Autoscaled::Frozen.as_str(), Balanced::RightsMissing.as_str()];
/// The API server rejects longer notes (1 KiB).
const MAX_NOTE_BYTES: usize = 1000;

impl Events {
    /// Reports as `instance`, the operator's pod.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self(Recorder::new(
            client,
            Reporter { controller: FIELD_MANAGER.into(), instance: Some(instance) },
        ))
    }

    /// Reports a change of a stream.
    pub async fn stream_changed(
        &self,
        channel: &ObjectReference,
        stream: &str,
        change: &StreamChange,
    ) {
        let (reason, type_, note) = match change {
            StreamChange::Created => {
                ("StreamCreated", EventType::Normal, format!("created stream {stream}"))
            }
            StreamChange::Recreated => (
                "StreamRecreated",
                EventType::Warning,
                format!(
                    "recreated stream {stream}, which was missing: its events are lost, and subscribers receive a gap event"
                ),
            ),
            StreamChange::Adopted(changes) => (
                "StreamAdopted",
                EventType::Normal,
                format!("adopted stream {stream}; changed: {changes}"),
            ),
            StreamChange::Updated(changes) => (
                "StreamUpdated",
                EventType::Normal,
                format!(
                    "updated stream {stream}: {changes}. Lower limits delete the oldest events"
                ),
            ),
            StreamChange::Deleted => (
                "StreamDeleted",
                EventType::Normal,
                format!("deleted stream {stream} and its events"),
            ),
        };
        self.publish(channel, type_, reason, "EnsureStream", note).await;
    }

    /// Reports that the operator restored an object that another client had changed or deleted.
    pub async fn repaired(&self, channel: &ObjectReference, kind: &str, name: &str) {
        let note = format!(
            "restored {kind} {name}, which another client had changed: change its owner instead"
        );
        self.publish(channel, EventType::Normal, "DriftRepaired", "Apply", note).await;
    }

    /// Reports that a channel cannot be deleted because its stream cannot be deleted, and how to delete it anyway.
    pub async fn deletion_blocked(&self, channel: &ObjectReference, cause: &str) {
        let note = format!(
            "waiting for the stream to be deleted: {cause}. To delete the channel and keep the stream: \
             kubectl patch evch NAME --type=merge -p '{{\"spec\":{{\"deletionPolicy\":\"Retain\"}}}}'"
        );
        self.publish(channel, EventType::Warning, "FinalizerBlocked", "DeleteStream", note).await;
    }

    /// Reports the conditions that changed for the worse, those that recovered, and the channel becoming ready.
    pub async fn conditions_changed(
        &self,
        channel: &ObjectReference,
        old: &[Condition],
        new: &[Condition],
    ) {
        for condition in new {
            let before = old.iter().find(|c| c.type_ == condition.type_);
            if !is_reported(before, condition) {
                continue;
            }
            let is_well = condition.status == "True" || condition.reason == reasons::QUEUED;
            let type_ = if is_well { EventType::Normal } else { EventType::Warning };
            let note = format!("{}: {}", condition.type_, condition.message);
            self.publish(channel, type_, &condition.reason, &condition.type_, note).await;
        }
    }

    /// Reports what the autopilot has done, or would do.
    pub async fn autopilot(
        &self,
        channel: &ObjectReference,
        is_warning: bool,
        reason: &'static str,
        note: String,
    ) {
        let type_ = if is_warning { EventType::Warning } else { EventType::Normal };
        self.publish(channel, type_, reason, "Autopilot", note).await;
    }

    async fn publish(
        &self,
        channel: &ObjectReference,
        type_: EventType,
        reason: &str,
        action: &str,
        mut note: String,
    ) {
        if note.len() > MAX_NOTE_BYTES {
            let end = (0..=MAX_NOTE_BYTES).rev().find(|i| note.is_char_boundary(*i)).unwrap_or(0);
            note.truncate(end);
        }
        let event = Event {
            type_,
            reason: reason.into(),
            note: Some(note),
            action: action.into(),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, channel).await {
            tracing::warn!(error = %Chain(&error), reason, "cannot publish an Event");
        }
    }
}

/// Whether a condition gets an Event: its status or reason changed, and it is not just the normal start of a channel.
fn is_reported(before: Option<&Condition>, now: &Condition) -> bool {
    let old_status = before.map(|c| &*c.status);
    if before.is_some_and(|b| (&b.status, &b.reason) == (&now.status, &now.reason)) {
        return false;
    }
    match (&*now.type_, &*now.status) {
        (conditions::READY, status) => status == "True",
        (conditions::PAUSED, _) => true,
        // The condition that it repeats is reported.
        (conditions::STALLED, _) => false,
        // A rollout that goes on has Events of the Deployment, and what the autopilot does has its own.
        (conditions::UP_TO_DATE, _) => [reasons::QUEUED, reasons::HALTED].contains(&&*now.reason),
        (conditions::AUTOSCALED | conditions::BALANCED, _) => {
            AUTOPILOT_REASONS_WITHOUT_EVENT.contains(&&*now.reason)
        }
        (_, "True") => old_status == Some("False"),
        (_, "False") => old_status.is_some() || now.reason != reasons::WAITING,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn only_changed_conditions_are_reported() {
        let c = |type_: &str, status: &str, reason: &str| Condition {
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
            message: String::new(),
            observed_generation: None,
            reason: reason.into(),
            status: status.into(),
            type_: type_.into(),
        };
        for (before, now, expected) in [
            (None, c("Accepted", "True", "Accepted"), false),
            (None, c("Accepted", "False", "InvalidSpec"), true),
            (None, c("Available", "False", reasons::WAITING), false),
            (None, c("UpToDate", "False", "RollingOut"), false),
            (Some(c("UpToDate", "True", "UpToDate")), c("UpToDate", "False", "Queued"), true),
            (Some(c("UpToDate", "False", "Queued")), c("UpToDate", "False", "Halted"), true),
            (Some(c("Balanced", "False", "Shedding")), c("Balanced", "True", "Balanced"), false),
            (Some(c("Autoscaled", "True", "Steady")), c("Autoscaled", "False", "AtMaximum"), true),
            (
                Some(c("Available", "True", "BrokersReady")),
                c("Available", "False", reasons::WAITING),
                true,
            ),
            (
                Some(c("Available", "False", reasons::WAITING)),
                c("Available", "True", "BrokersReady"),
                true,
            ),
            (
                Some(c("Available", "True", "BrokersReady")),
                c("Available", "True", "SomeBrokersReady"),
                false,
            ),
            (Some(c("StreamReady", "False", "A")), c("StreamReady", "False", "A"), false),
            (Some(c("StreamReady", "False", "A")), c("StreamReady", "False", "B"), true),
            (None, c("Ready", "False", "InvalidSpec"), false),
            (None, c("Ready", "True", "Ready"), true),
            (None, c("Stalled", "True", "InvalidSpec"), false),
            (None, c("Available", "Unknown", "Blocked"), false),
        ] {
            assert_eq!(is_reported(before.as_ref(), &now), expected, "{before:?} {now:?}");
        }
    }
}
