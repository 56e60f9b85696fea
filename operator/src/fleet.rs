//! Rolls out what the operator itself has changed, channel by channel: another version, default image or setting would otherwise replace the brokers
//! of all channels at once. What a person changes on a channel never waits.
//!
//! Reconciliations record how the Deployment of a channel differs from what is wanted, and leave it as it is until the gate
//! ([`rollouts`](crate::rollouts)) lets it begin. The gate is asked every few seconds, once all channels were reconciled.

mod progress;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use eventcast_crds::channel::{PAUSED_ANNOTATION, ROLLOUT_ANNOTATION};
use jiff::Timestamp;
use kube::{ResourceExt, core::DynamicObject};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    kind::Kind,
    metrics::Metrics,
    names::{ROLLOUT_RECORD_ANNOTATION, TEMPLATE_HASH_ANNOTATION},
    owner::OwnerKey,
    rollouts::{ChannelRollout, Gate, RolloutSettings, RolloutState, Template, Wave, gate},
    scope::{Scope, is_annotated},
    settings::Settings,
};

/// Interval at which the gate is asked.
const GATE_INTERVAL: Duration = Duration::from_secs(2);
/// After this time the gate no longer waits for channels that were not reconciled.
const FIRST_RECONCILES_TIMEOUT: Duration = Duration::from_secs(120);
/// What the record of a rollout ends with if the brokers were unhealthy when it began.
const UNHEALTHY: &str = " unhealthy";

/// What reconciliations have seen of Deployments, and what the gate has answered.
#[derive(Debug)]
pub struct Fleet {
    /// What the operator adds to every template: a rollout of other settings proves nothing about these.
    settings: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// How the Deployment of each channel differs from what is wanted, and the hash of the template that is wanted.
    templates: HashMap<OwnerKey, (Template, String)>,
    /// Channels that were reconciled, with whatever result.
    reconciled: HashSet<OwnerKey>,
    /// Rollouts that may begin: the hash of the template, and whether the brokers were healthy.
    released: HashMap<OwnerKey, (String, bool)>,
    gate: Gate,
}

impl Fleet {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.rollout_id(), known: Mutex::default() }
    }

    /// Records that a channel is being reconciled.
    pub fn reconciled(&self, owner: &OwnerKey) {
        self.known.lock().reconciled.insert(owner.clone());
    }

    /// Decides whether the Deployment `desired` may be applied over `live`. If so, adds the record of its rollout to `desired`.
    /// `is_changed` says whether a person has changed the channel since its last reconciliation.
    pub fn admit(
        &self,
        owner: &OwnerKey,
        live: Option<&DynamicObject>,
        desired: &mut Value,
        is_changed: bool,
    ) -> bool {
        let wanted = annotation(desired, TEMPLATE_HASH_ANNOTATION).unwrap_or_default();
        let record = format!("{wanted}-{}", self.settings);
        let template = template(live, &wanted, &record, is_changed);
        let mut known = self.known.lock();
        known.templates.insert(owner.clone(), (template, wanted.clone()));
        let was_healthy = match template {
            Template::Wanted | Template::ChangedByPerson => None,
            Template::RolledOut { was_healthy } => Some(was_healthy),
            Template::Outdated => match known.released.get(owner) {
                Some((hash, was_healthy)) if *hash == wanted => Some(*was_healthy),
                _ => return false,
            },
        };
        if template != Template::Outdated {
            known.released.remove(owner);
        }
        if let Some(was_healthy) = was_healthy {
            let record = if was_healthy { record } else { record + UNHEALTHY };
            desired["metadata"]["annotations"][ROLLOUT_RECORD_ANNOTATION] = json!(record);
        }
        true
    }

    /// Forgets the Deployment of an owner that has no brokers.
    pub fn remove(&self, owner: &OwnerKey) {
        let mut known = self.known.lock();
        known.templates.remove(owner);
        known.released.remove(owner);
    }

    /// Why the Deployment of a channel is not as it is wanted, or why its rollout has failed. `None` if neither is so.
    #[must_use]
    pub fn pending_state(&self, owner: &OwnerKey) -> Option<RolloutState> {
        let known = self.known.lock();
        let (template, _) = known.templates.get(owner)?;
        let state = known.gate.states.get(owner).cloned();
        if *template == Template::Outdated {
            return Some(
                state
                    .filter(|state| *state != RolloutState::UpToDate)
                    .unwrap_or(RolloutState::Queued),
            );
        }
        state.filter(|state| matches!(state, RolloutState::Halted { .. }))
    }

    /// Asks the gate until the future is dropped.
    pub async fn run(&self, scopes: &[Arc<Scope>], settings: &RolloutSettings, metrics: &Metrics) {
        let began = Instant::now();
        for scope in scopes {
            scope.wait_channels_listed().await;
        }
        loop {
            sleep(GATE_INTERVAL).await;
            let mut channels = Vec::new();
            for scope in scopes {
                for (kind, raw) in scope.owners() {
                    channels.push((scope, OwnerKey::of(kind, &raw), raw));
                }
            }
            if !self.prepare(channels.iter().map(|(_, key, _)| key))
                && began.elapsed() < FIRST_RECONCILES_TIMEOUT
            {
                continue;
            }
            let now = Timestamp::now();
            let rollouts: Vec<_> = channels
                .iter()
                .filter_map(|(scope, key, raw)| self.rollout(scope, key, raw, now))
                .collect();
            let answer = gate(settings, &rollouts);
            metrics.set_rollouts(&answer.counts);
            for owner in self.remember(answer) {
                for scope in scopes.iter().filter(|scope| scope.covers(&owner.namespace)) {
                    scope.request(&owner).await;
                }
            }
        }
    }

    /// Forgets channels that are gone. Returns whether all others were reconciled.
    fn prepare<'a>(&self, channels: impl Iterator<Item = &'a OwnerKey>) -> bool {
        let channels: HashSet<_> = channels.collect();
        let mut known = self.known.lock();
        known.templates.retain(|key, _| channels.contains(key));
        known.released.retain(|key, _| channels.contains(key));
        known.reconciled.retain(|key| channels.contains(key));
        known.reconciled.len() == channels.len()
    }

    /// The input of the gate for a channel. `None` if it was not reconciled yet.
    fn rollout(
        &self,
        scope: &Scope,
        key: &OwnerKey,
        raw: &DynamicObject,
        now: Timestamp,
    ) -> Option<ChannelRollout> {
        let template = self.known.lock().templates.get(key)?.0;
        let deployment = scope.object(Kind::Deployment, &key.namespace, &key.object_name());
        Some(ChannelRollout {
            key: key.clone(),
            template,
            held: is_annotated(raw, ROLLOUT_ANNOTATION, "Hold"),
            paused: is_annotated(raw, PAUSED_ANNOTATION, "true"),
            wave: match raw.labels().get(ROLLOUT_ANNOTATION).map(String::as_str) {
                Some("first") => Wave::First,
                Some("last") => Wave::Last,
                _ => Wave::Between,
            },
            subscribers: raw.data["status"]["subscribers"].as_u64().unwrap_or(0),
            progress: deployment
                .map(|deployment| progress::of(&deployment, now, || scope.pods_of(key)))
                .unwrap_or_default(),
        })
    }

    /// Remembers the answer of the gate. Returns the channels that have to be reconciled for it.
    fn remember(&self, answer: Gate) -> Vec<OwnerKey> {
        let mut known = self.known.lock();
        let mut changed: Vec<_> = Vec::new();
        // Of the other states a reconciliation sees by itself what it needs.
        let is_pending = |state: &RolloutState| {
            !matches!(state, RolloutState::UpToDate | RolloutState::RollingOut)
        };
        for (key, state) in &answer.states {
            let before = known.gate.states.get(key);
            if before != Some(state) && (is_pending(state) || before.is_some_and(is_pending)) {
                changed.push(key.clone());
            }
        }
        for begin in &answer.begin {
            if let Some((_, wanted)) = known.templates.get(&begin.key).cloned() {
                known.released.insert(begin.key.clone(), (wanted, begin.is_healthy));
                if !changed.contains(&begin.key) {
                    changed.push(begin.key.clone());
                }
            }
        }
        known.gate = answer;
        changed
    }
}

fn annotation(object: &Value, key: &str) -> Option<String> {
    object["metadata"]["annotations"].get(key)?.as_str().map(str::to_owned)
}

/// How the pod template of `live` differs from the one with the hash `wanted`. `record` is that of its rollout.
fn template(
    live: Option<&DynamicObject>,
    wanted: &str,
    record: &str,
    is_changed: bool,
) -> Template {
    let Some(live) = live else { return Template::Wanted };
    let of = |key: &str| live.annotations().get(key).map(String::as_str);
    if of(TEMPLATE_HASH_ANNOTATION) != Some(wanted) {
        return if is_changed { Template::ChangedByPerson } else { Template::Outdated };
    }
    match of(ROLLOUT_RECORD_ANNOTATION).and_then(|found| found.strip_prefix(record)) {
        Some("") => Template::RolledOut { was_healthy: true },
        Some(UNHEALTHY) => Template::RolledOut { was_healthy: false },
        _ => Template::Wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> OwnerKey {
        OwnerKey::channel(("shop".into(), "orders".into()))
    }

    fn desired(hash: &str) -> Value {
        json!({"metadata": {"annotations": {TEMPLATE_HASH_ANNOTATION: hash}}})
    }

    fn live(hash: &str, record: Option<&str>) -> DynamicObject {
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "d", "annotations": {TEMPLATE_HASH_ANNOTATION: hash}},
        });
        if let Some(record) = record {
            object["metadata"]["annotations"][ROLLOUT_RECORD_ANNOTATION] = json!(record);
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn only_what_the_operator_has_changed_waits() {
        let fleet = Fleet { settings: "v1".into(), known: Mutex::default() };
        let admit = |live: Option<&DynamicObject>, is_changed: bool| {
            let mut desired = desired("new");
            let admitted = fleet.admit(&key(), live, &mut desired, is_changed);
            (admitted, annotation(&desired, ROLLOUT_RECORD_ANNOTATION))
        };
        assert_eq!(admit(None, false), (true, None), "there is none yet");
        assert_eq!(admit(Some(&live("new", None)), false), (true, None));
        assert_eq!(admit(Some(&live("old", None)), true), (true, None), "by a person");
        assert_eq!(fleet.pending_state(&key()), None);
        assert_eq!(admit(Some(&live("old", None)), false), (false, None));
        assert_eq!(fleet.pending_state(&key()), Some(RolloutState::Queued));

        let begin = crate::rollouts::Begin { key: key(), is_healthy: true };
        let answer = Gate { begin: vec![begin], ..Gate::default() };
        assert_eq!(fleet.remember(answer), [key()]);
        assert_eq!(admit(Some(&live("old", None)), false), (true, Some("new-v1".into())));
        let rolled = live("new", Some("new-v1"));
        assert_eq!(admit(Some(&rolled), false), (true, Some("new-v1".into())), "the record stays");
        assert_eq!(fleet.pending_state(&key()), None);
        let unhealthy = live("new", Some("new-v1 unhealthy"));
        assert_eq!(admit(Some(&unhealthy), false).1.as_deref(), Some("new-v1 unhealthy"));
        for other in ["old-v1", "new-v0", "new-v0 unhealthy"] {
            assert_eq!(admit(Some(&live("new", Some(other))), false), (true, None), "{other}");
        }
        assert!(!admit(Some(&live("old", None)), false).0, "a release counts once");
    }
}
