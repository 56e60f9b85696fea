//! Bringing the objects of a channel to what they should be: server-side apply, and deletion of what is not wanted any more.
//!
//! Nothing is written where nothing differs: of what was applied last a fingerprint is remembered, as the API server gave it back,
//! and compared with what a watch shows ([`crate::drift`]). Objects of others are never touched, whatever their names.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions, ValidationDirective},
    core::DynamicObject,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{
    channel::Channel,
    drift,
    kind::Kind,
    leader::{Fence, Fenced},
    metrics::Metrics,
    names::{CHANNEL_LABEL, MANAGED, MANAGER, SCALE_MANAGER},
    scope::Scope,
};

/// Why an object is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The name is taken.
    #[error(
        "there is a {kind} {name} that does not belong to this channel: it is not touched. Rename or delete it, or rename the channel"
    )]
    NameConflict {
        /// Of the object.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The API server refuses.
    #[error("the API server refuses the {kind} {name}: {message}")]
    Refused {
        /// Of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its words.
        message: String,
        /// Whether it may pass by itself, as a quota does and a field that cannot be does not.
        passing: bool,
    },
    /// The API server cannot be asked.
    #[error("failed to write the {kind} {name}")]
    Api {
        /// Of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// Somebody else leads.
    #[error(transparent)]
    Fenced(#[from] Fenced),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing: it is as it should be.
    Nothing,
    /// It was written because it is wanted otherwise than before, or for the first time.
    Written,
    /// It was put back: somebody else had changed or deleted it.
    Repaired,
    /// It was deleted: it is not wanted any more.
    Deleted,
}

/// What is remembered of an object.
#[derive(Clone, Debug)]
struct Applied {
    /// Hash of what was wanted.
    wanted: [u8; 32],
    /// What of it was ours when it was written.
    fingerprint: [u8; 32],
    /// The version that the API server gave it.
    version: Option<String>,
    /// When it was looked at last.
    at: Instant,
}

/// Writes objects, and remembers what it wrote.
pub struct Applier {
    fence: Fence,
    metrics: Arc<Metrics>,
    /// How often is looked at what no watch shows.
    resync: Duration,
    /// By the channel's uid.
    memory: Mutex<HashMap<String, HashMap<Kind, Applied>>>,
}

impl Applier {
    /// Writes while `fence` is open. What no watch shows is looked at once in `resync`.
    #[must_use]
    pub fn new(fence: Fence, metrics: Arc<Metrics>, resync: Duration) -> Self {
        Self { fence, metrics, resync, memory: Mutex::default() }
    }

    /// Forgets what was applied for a channel: it is gone.
    pub fn forget(&self, uid: &str) {
        self.memory.lock().remove(uid);
    }

    /// Forgets every channel but those of `uids`: one without a finalizer goes without a visit.
    pub fn retain(&self, uids: &HashSet<String>) {
        self.memory.lock().retain(|uid, _| uids.contains(uid));
    }

    /// Makes the object of `kind` what is `wanted`.
    ///
    /// # Errors
    /// See [`ApplyError`]. What was there stays.
    pub async fn apply(
        &self,
        scope: &Scope,
        channel: &Channel,
        kind: Kind,
        wanted: Option<Value>,
    ) -> Result<Done, ApplyError> {
        let name = channel.object_name();
        let live = scope.object(kind, &channel.namespace, &name);
        let Some(wanted) = wanted else {
            return self.remove(scope, channel, kind, live.as_deref()).await;
        };
        let known = self.memory.lock().get(&channel.uid).and_then(|of| of.get(&kind)).cloned();
        let hash: [u8; 32] = Sha256::digest(wanted.to_string()).into();
        let known = known.filter(|known| known.wanted == hash);
        if let Some(known) = &known
            && self.is_untouched(kind, &wanted, known, live.as_deref())
        {
            return Ok(Done::Nothing);
        }
        let api = scope.api(kind, &channel.namespace);
        let live = match live {
            Some(live) => Some(live),
            None => api.get_opt(&name).await.map_err(|e| failed(kind, &name, e))?.map(Arc::new),
        };
        if let Some(live) = &live {
            owned(live, channel, kind)?;
        }
        let target = Target { api, kind, name: &name, wanted: &wanted };
        // boxed: the future of a visit without a write stays small
        let written = Box::pin(self.bring(&target, live.as_deref())).await?;
        let applied = Applied {
            wanted: hash,
            fingerprint: drift::fingerprint(kind, &wanted, &written),
            version: written.resource_version(),
            at: Instant::now(),
        };
        self.memory.lock().entry(channel.uid.clone()).or_default().insert(kind, applied);
        if live.as_ref().is_some_and(|l| l.resource_version() == written.resource_version()) {
            return Ok(Done::Nothing);
        }
        self.metrics.wrote(kind.as_str(), if live.is_some() { "apply" } else { "create" });
        Ok(if known.is_some() { Done::Repaired } else { Done::Written })
    }

    /// Whether nobody has changed what is ours since it was applied.
    fn is_untouched(
        &self,
        kind: Kind,
        wanted: &Value,
        known: &Applied,
        live: Option<&DynamicObject>,
    ) -> bool {
        match live {
            Some(live) => {
                live.metadata.resource_version == known.version
                    || is_older(live.metadata.resource_version.as_deref(), known.version.as_deref())
                    || drift::fingerprint(kind, wanted, live) == known.fingerprint
            }
            None => !kind.is_watched() && known.at.elapsed() < self.resync,
        }
    }

    /// Server-side apply, and what it cannot do by itself (ADR 12). Gives the object as it is then.
    async fn bring(
        &self,
        target: &Target<'_>,
        live: Option<&DynamicObject>,
    ) -> Result<DynamicObject, ApplyError> {
        let mut applied = self.patch(target, &target.apply(live)).await;
        if let Err(ApplyError::Refused { passing: false, .. }) = &applied
            && live.is_some()
            && let Some(now) = target.get().await?
            && let Some(reset) = drift::reset(target.kind, target.wanted, &now)
        {
            // What others have changed and what we want do not go together.
            self.patch(target, &Patch::Merge(reset)).await?;
            self.metrics.wrote(target.kind.as_str(), "patch");
            applied = self.patch(target, &target.apply(live)).await;
        }
        let written = applied?;
        match drift::prune(target.kind, target.wanted, &written) {
            Some(prune) => {
                self.metrics.wrote(target.kind.as_str(), "patch");
                self.patch(target, &Patch::Merge(prune)).await
            }
            None => Ok(written),
        }
    }

    async fn patch(
        &self,
        target: &Target<'_>,
        patch: &Patch<Value>,
    ) -> Result<DynamicObject, ApplyError> {
        self.fence.check()?;
        let applies = matches!(patch, Patch::Apply(_));
        let params = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            force: applies,
            ..PatchParams::apply(MANAGER)
        };
        let written = target.api.patch(target.name, &params, patch).await;
        written.map_err(|e| failed(target.kind, target.name, e))
    }

    /// Writes the number of brokers, if it is another. Never while an autoscaler owns it (ADR 6).
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn scale(&self, scope: &Scope, channel: &Channel) -> Result<Done, ApplyError> {
        let (kind, name) = (Kind::Deployment, channel.object_name());
        let live = scope.object(kind, &channel.namespace, &name);
        let wanted = channel.spec.brokers.replicas;
        let replicas = live.as_ref().and_then(|d| d.data["spec"]["replicas"].as_i64());
        if channel.spec.brokers.autoscaling.is_some() || replicas == Some(i64::from(wanted)) {
            return Ok(Done::Nothing);
        }
        // What the watch has not seen yet was created a moment ago, with the default of 1.
        if live.is_none() && wanted == 1 {
            return Ok(Done::Nothing);
        }
        self.fence.check()?;
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": name, "namespace": channel.namespace},
            "spec": {"replicas": wanted},
        });
        let params = PatchParams::apply(SCALE_MANAGER).force();
        let api = scope.api(kind, &channel.namespace);
        api.patch_scale(&name, &params, &Patch::Apply(&scale))
            .await
            .map_err(|e| failed(kind, &name, e))?;
        self.metrics.wrote(kind.as_str(), "scale");
        Ok(Done::Written)
    }

    /// Deletes what is there and ours.
    async fn remove(
        &self,
        scope: &Scope,
        channel: &Channel,
        kind: Kind,
        live: Option<&DynamicObject>,
    ) -> Result<Done, ApplyError> {
        let name = channel.object_name();
        let Some(object) = live.filter(|o| owned(o, channel, kind).is_ok()) else {
            return Ok(Done::Nothing);
        };
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(Done::Nothing);
        }
        self.fence.check()?;
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: object.metadata.uid.clone(),
            resource_version: None,
        });
        match scope.api(kind, &channel.namespace).delete(&name, &params).await {
            Ok(_) => self.metrics.wrote(kind.as_str(), "delete"),
            Err(kube::Error::Api(e)) if e.is_not_found() || e.is_conflict() => {}
            Err(error) => return Err(failed(kind, &name, error)),
        }
        if let Some(of) = self.memory.lock().get_mut(&channel.uid) {
            of.remove(&kind);
        }
        Ok(Done::Deleted)
    }
}

/// An object to write.
struct Target<'a> {
    api: Api<DynamicObject>,
    kind: Kind,
    name: &'a str,
    wanted: &'a Value,
}

impl Target<'_> {
    /// What is wanted, for server-side apply. An apply that finds another object under the name, or none, must not succeed.
    fn apply(&self, live: Option<&DynamicObject>) -> Patch<Value> {
        let mut wanted = self.wanted.clone();
        if let Some(live) = live {
            wanted["metadata"]["uid"] = json!(live.metadata.uid);
        }
        Patch::Apply(wanted)
    }

    async fn get(&self) -> Result<Option<DynamicObject>, ApplyError> {
        self.api.get_opt(self.name).await.map_err(|e| failed(self.kind, self.name, e))
    }
}

/// Whether a cache has not seen yet what we wrote. Versions are counters of the API server.
fn is_older(cached: Option<&str>, written: Option<&str>) -> bool {
    let counter = |version: Option<&str>| version?.parse::<u64>().ok();
    counter(cached).zip(counter(written)).is_some_and(|(cached, written)| cached < written)
}

/// Ours is what this channel owns, and what one of its name owned before it: deleted and applied again, a channel takes its brokers
/// over before the garbage collector finds them, and no stream is cut. What lost its owner and has our labels still is ours, too.
fn owned(object: &DynamicObject, channel: &Channel, kind: Kind) -> Result<(), ApplyError> {
    let ours = object.owner_references().iter().any(|owner| {
        owner.uid == channel.uid
            || (owner.kind == channel.owner.kind
                && owner.name == channel.name
                && owner.api_version == channel.owner.api_version)
    });
    let labels = object.labels();
    let managed = MANAGED.split_once('=');
    let labelled = managed.is_some_and(|(key, value)| labels.get(key).is_some_and(|v| v == value))
        && labels.get(CHANNEL_LABEL) == Some(&channel.name);
    let orphan = object.owner_references().iter().all(|owner| owner.controller != Some(true));
    if ours || (labelled && orphan) {
        return Ok(());
    }
    Err(ApplyError::NameConflict { kind: kind.as_str(), name: object.name_any() })
}

fn failed(kind: Kind, name: &str, source: kube::Error) -> ApplyError {
    let (kind, name) = (kind.as_str(), name.to_owned());
    match source {
        // Invalid, forbidden, or a field that it does not know: words for a person.
        kube::Error::Api(e)
            if (400..500).contains(&e.code) && !e.is_conflict() && e.code != 429 =>
        {
            // a request that cannot be, one that is too large, an object that cannot be
            let passing = ![400, 413, 422].contains(&e.code);
            ApplyError::Refused { kind, name, message: e.message.clone(), passing }
        }
        source => ApplyError::Api { kind, name, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_is_behind_is_no_drift() {
        assert!(is_older(Some("9"), Some("10")));
        assert!(!is_older(Some("10"), Some("10")) && !is_older(Some("11"), Some("10")));
        assert!(!is_older(None, Some("10")) && !is_older(Some("x"), Some("10")));
    }
}
