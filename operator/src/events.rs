//! What is told as Kubernetes Events: changes, once each. Failing to tell is logged, and never a failure of the visit.

use eventcast_crds::channel::status::EventChannelStatus;
use eventcast_runtime::Chain;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{
    names::MANAGER,
    status::{conditions, reasons},
    stream::Change,
};

/// Tells Events about channels.
#[derive(Clone)]
pub struct Events(Recorder);

/// The most that the API takes in a note.
const LONGEST: usize = 1000;

impl Events {
    /// Tells in the name of `instance`, the operator's pod.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self(Recorder::new(
            client,
            Reporter { controller: MANAGER.into(), instance: Some(instance) },
        ))
    }

    /// Tells of a stream.
    pub async fn stream(&self, channel: &ObjectReference, stream: &str, change: &Change) {
        let (reason, kind, note) = match change {
            Change::Created => {
                ("StreamCreated", EventType::Normal, format!("created the stream {stream}"))
            }
            Change::Recreated => (
                "StreamRecreated",
                EventType::Warning,
                format!(
                    "the stream {stream} was gone and is created anew: its events are lost, and subscribers are told"
                ),
            ),
            Change::Adopted(changes) => (
                "StreamAdopted",
                EventType::Normal,
                format!("took the stream {stream} over; changed: {changes}"),
            ),
            Change::Updated(changes) => (
                "StreamUpdated",
                EventType::Normal,
                format!(
                    "changed the stream {stream}: {changes}. Lower limits drop the oldest events"
                ),
            ),
            Change::Deleted => (
                "StreamDeleted",
                EventType::Normal,
                format!("deleted the stream {stream} and its events"),
            ),
        };
        self.tell(channel, kind, reason, "EnsureStream", note).await;
    }

    /// Tells that an object of somebody else's making, or unmaking, was put right.
    pub async fn repaired(&self, channel: &ObjectReference, kind: &str, name: &str) {
        let note =
            format!("put {kind} {name} back as it should be: change the EventChannel instead");
        self.tell(channel, EventType::Normal, "DriftRepaired", "Apply", note).await;
    }

    /// Tells that a channel cannot go because its stream cannot be deleted, and the way out.
    pub async fn blocked(&self, channel: &ObjectReference, why: &str) {
        let note = format!(
            "the channel waits for its stream to be deleted: {why}. To let it go and keep the stream: \
             kubectl patch evch NAME --type=merge -p '{{\"spec\":{{\"deletionPolicy\":\"Retain\"}}}}'"
        );
        self.tell(channel, EventType::Warning, "FinalizerBlocked", "DeleteStream", note).await;
    }

    /// Tells what got worse, what is well again, and that all is well.
    pub async fn changed(
        &self,
        channel: &ObjectReference,
        old: &EventChannelStatus,
        new: &EventChannelStatus,
    ) {
        for condition in &new.conditions {
            let before = old.conditions.iter().find(|c| c.type_ == condition.type_);
            if !is_news(before, condition) {
                continue;
            }
            let good = condition.status == "True";
            let kind = if good { EventType::Normal } else { EventType::Warning };
            let note = format!("{}: {}", condition.type_, condition.message);
            self.tell(channel, kind, &condition.reason, &condition.type_, note).await;
        }
    }

    async fn tell(
        &self,
        channel: &ObjectReference,
        kind: EventType,
        reason: &str,
        action: &str,
        mut note: String,
    ) {
        if note.len() > LONGEST {
            note.truncate((0..=LONGEST).rev().find(|i| note.is_char_boundary(*i)).unwrap_or(0));
        }
        let event = Event {
            type_: kind,
            reason: reason.into(),
            note: Some(note),
            action: action.into(),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, channel).await {
            tracing::warn!(error = %Chain(&error), reason, "cannot record an Event");
        }
    }
}

/// A condition is news when its reason changed, and it is not just one of the first things to be said of a channel.
fn is_news(before: Option<&Condition>, now: &Condition) -> bool {
    let was = before.map(|c| &*c.status);
    if before.is_some_and(|b| (&b.status, &b.reason) == (&now.status, &now.reason)) {
        return false;
    }
    match (&*now.type_, &*now.status) {
        (conditions::READY, status) => status == "True",
        (conditions::PAUSED, _) => true,
        (_, "True") => was == Some("False"),
        (_, "False") => was.is_some() || now.reason != reasons::WAITING,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn only_what_matters_is_told() {
        let condition = |kind: &str, status: &str, reason: &str| Condition {
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
            message: String::new(),
            observed_generation: None,
            reason: reason.into(),
            status: status.into(),
            type_: kind.into(),
        };
        let c = condition;
        for (before, now, told) in [
            (None, c("Accepted", "True", "Accepted"), false),
            (None, c("Accepted", "False", "InvalidSpec"), true),
            (None, c("Available", "False", reasons::WAITING), false),
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
            (None, c("Available", "Unknown", "Blocked"), false),
        ] {
            assert_eq!(is_news(before.as_ref(), &now), told, "{before:?} {now:?}");
        }
    }
}
