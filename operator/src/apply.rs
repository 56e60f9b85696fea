//! Bringing the objects of a channel to what they should be: server-side apply, and deletion of what is not wanted any more.
//!
//! Nothing is written where nothing differs: what was applied last is remembered with the version that the API server gave it, and
//! a watch says whether that is still the one. Objects of others are never touched, whatever their names.

use std::{collections::HashMap, sync::Arc};

use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions, ValidationDirective},
    core::DynamicObject,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    channel::Channel,
    kind::Kind,
    leader::{Fence, Fenced},
    metrics::Metrics,
    names::{MANAGER, SCALE_MANAGER},
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

#[derive(Clone, Debug, PartialEq)]
struct Applied {
    hash: [u8; 32],
    version: String,
}

/// Writes objects, and remembers what it wrote.
pub struct Applier {
    fence: Fence,
    metrics: Arc<Metrics>,
    /// By the channel's uid.
    memory: Mutex<HashMap<String, HashMap<Kind, Applied>>>,
}

impl Applier {
    /// Writes while `fence` is open.
    #[must_use]
    pub fn new(fence: Fence, metrics: Arc<Metrics>) -> Self {
        Self { fence, metrics, memory: Mutex::default() }
    }

    /// Forgets what was applied for a channel: it is gone, or everything is to be looked at again.
    pub fn forget(&self, uid: &str) {
        self.memory.lock().remove(uid);
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
        let known = self.memory.lock().get(&channel.uid).and_then(|of| of.get(&kind)).cloned();
        let Some(mut wanted) = wanted else {
            return self.remove(scope, channel, kind, live.as_deref()).await;
        };
        let hash: [u8; 32] = Sha256::digest(wanted.to_string()).into();
        let wanted_before = known.as_ref().is_some_and(|k| k.hash == hash);
        let untouched = match (&known, &live) {
            (Some(known), Some(live)) => known.version == version(kind, live),
            (Some(_), None) => !kind.is_watched(),
            _ => false,
        };
        if wanted_before && untouched {
            return Ok(Done::Nothing);
        }
        let live = match live {
            Some(live) => Some(live),
            None => self.get(scope, channel, kind, &name).await?.map(Arc::new),
        };
        if let Some(live) = &live {
            owned(live, channel, kind)?;
            // An apply that finds another object under the name, or none, must not succeed.
            wanted["metadata"]["uid"] = json!(live.metadata.uid);
        }
        self.fence.check()?;
        let params = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply(MANAGER).force()
        };
        let api = scope.api(kind, &channel.namespace);
        let written = api.patch(&name, &params, &Patch::Apply(&wanted)).await;
        let written = written.map_err(|e| failed(kind, &name, e))?;
        let changed =
            live.as_ref().is_none_or(|l| l.resource_version() != written.resource_version());
        let applied = Applied { hash, version: version(kind, &written) };
        self.memory.lock().entry(channel.uid.clone()).or_default().insert(kind, applied);
        if !changed {
            return Ok(Done::Nothing);
        }
        self.metrics.wrote(kind.as_str(), if live.is_some() { "apply" } else { "create" });
        Ok(if wanted_before { Done::Repaired } else { Done::Written })
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

    async fn get(
        &self,
        scope: &Scope,
        channel: &Channel,
        kind: Kind,
        name: &str,
    ) -> Result<Option<DynamicObject>, ApplyError> {
        let api = scope.api(kind, &channel.namespace);
        api.get_opt(name).await.map_err(|e| failed(kind, name, e))
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

/// What changes when somebody else changes what we applied, and at best not when a status does.
fn version(kind: Kind, object: &DynamicObject) -> String {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let counter = if kind.has_generation() {
        object.metadata.generation.map(|g| g.to_string())
    } else {
        object.metadata.resource_version.clone()
    };
    format!("{uid}/{}", counter.unwrap_or_default())
}

/// Ours is what this channel owns, and what one of its name owned before it: deleted and applied again, a channel takes its brokers
/// over before the garbage collector finds them, and no stream is cut.
fn owned(object: &DynamicObject, channel: &Channel, kind: Kind) -> Result<(), ApplyError> {
    let ours = object.owner_references().iter().any(|owner| {
        owner.uid == channel.uid
            || (owner.kind == channel.owner.kind
                && owner.name == channel.name
                && owner.api_version == channel.owner.api_version)
    });
    if ours {
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
            ApplyError::Refused { kind, name, message: e.message.clone() }
        }
        source => ApplyError::Api { kind, name, source },
    }
}
