//! Creates, updates and deletes the objects of channels and pools, with server-side apply.
//!
//! Nothing is written if nothing differs: after each write the applier remembers a fingerprint of the object that the API server
//! returned, and compares it with the cached object ([`crate::drift`]). Objects of other owners are never changed, whatever their
//! names.

mod error;

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
    drift,
    kind::Kind,
    leader::Fence,
    metrics::Metrics,
    names::{FIELD_MANAGER, MANAGED_SELECTOR, SCALE_MANAGER},
    owner::Owner,
    scope::Scope,
};

pub use error::ApplyError;
use error::failed;

/// What [`Applier::apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The object already matched.
    Unchanged,
    /// The object was written because the desired object is new or changed.
    Written,
    /// The object was written because another client had changed or deleted it.
    Repaired,
    /// The object was deleted because it is no longer desired.
    Deleted,
}

/// The last write of an object.
#[derive(Clone, Debug)]
struct LastWrite {
    /// Hash of the desired object.
    desired_hash: [u8; 32],
    /// [`drift::fingerprint`] of the object that the API server returned.
    fingerprint: [u8; 32],
    /// Its `metadata.resourceVersion`.
    resource_version: Option<String>,
    at: Instant,
}

/// The last writes of the objects of one owner, by kind and name.
type LastWrites = HashMap<(Kind, String), LastWrite>;

/// Writes objects, and remembers what it wrote.
pub struct Applier {
    fence: Fence,
    metrics: Arc<Metrics>,
    /// Interval at which objects are read that no watch covers.
    resync: Duration,
    /// By `metadata.uid` of the owner.
    last_writes: Mutex<HashMap<String, LastWrites>>,
}

impl Applier {
    /// An applier that writes while `fence` is open. Objects that no watch covers are read again every `resync`.
    #[must_use]
    pub fn new(fence: Fence, metrics: Arc<Metrics>, resync: Duration) -> Self {
        Self { fence, metrics, resync, last_writes: Mutex::default() }
    }

    /// Drops the state of a deleted owner.
    pub fn forget(&self, uid: &str) {
        self.last_writes.lock().remove(uid);
    }

    /// Drops the state of every owner that is not in `uids`. One without a finalizer disappears without a
    /// last reconciliation.
    pub fn retain(&self, uids: &HashSet<String>) {
        self.last_writes.lock().retain(|uid, _| uids.contains(uid));
    }

    /// Makes the object `name` of `kind` match `desired`; deletes it for `None`.
    ///
    /// # Errors
    /// See [`ApplyError`]. The existing object is unchanged.
    pub async fn apply(
        &self,
        scope: &Scope,
        owner: &Owner,
        (kind, name): (Kind, &str),
        desired: Option<Value>,
    ) -> Result<Applied, ApplyError> {
        let namespace = &owner.key.namespace;
        let live = scope.object(kind, namespace, name);
        let Some(desired) = desired else {
            return self.delete(scope, owner, (kind, name), live.as_deref()).await;
        };
        let key = (kind, name.to_owned());
        let last = self.last_writes.lock().get(&owner.uid).and_then(|of| of.get(&key)).cloned();
        let desired_hash: [u8; 32] = Sha256::digest(desired.to_string()).into();
        let last = last.filter(|last| last.desired_hash == desired_hash);
        if let Some(last) = &last
            && self.is_unchanged(kind, &desired, last, live.as_deref())
        {
            return Ok(Applied::Unchanged);
        }
        let api = scope.api(kind, namespace);
        let live = match live {
            Some(live) => Some(live),
            None => api.get_opt(name).await.map_err(|e| failed(kind, name, e))?.map(Arc::new),
        };
        if let Some(live) = &live {
            check_ownership(live, owner, kind)?;
        }
        let target = Target { api, kind, name, desired: &desired };
        // Boxed, so that the future of a reconciliation without a write stays small.
        let written = Box::pin(self.write(&target, live.as_deref())).await?;
        let write = LastWrite {
            desired_hash,
            fingerprint: drift::fingerprint(kind, &desired, &written),
            resource_version: written.resource_version(),
            at: Instant::now(),
        };
        self.last_writes.lock().entry(owner.uid.clone()).or_default().insert(key, write);
        if live.as_ref().is_some_and(|l| l.resource_version() == written.resource_version()) {
            return Ok(Applied::Unchanged);
        }
        self.metrics.wrote(kind.as_str(), if live.is_some() { "apply" } else { "create" });
        Ok(if last.is_some() { Applied::Repaired } else { Applied::Written })
    }

    /// Whether the operator's fields are unchanged since the last write.
    fn is_unchanged(
        &self,
        kind: Kind,
        desired: &Value,
        last: &LastWrite,
        live: Option<&DynamicObject>,
    ) -> bool {
        match live {
            Some(live) => {
                let cached = live.metadata.resource_version.as_deref();
                cached == last.resource_version.as_deref()
                    || is_older(cached, last.resource_version.as_deref())
                    || drift::fingerprint(kind, desired, live) == last.fingerprint
            }
            None => !kind.is_watched() && last.at.elapsed() < self.resync,
        }
    }

    /// Applies, then corrects what server-side apply alone cannot (ADR 12). Returns the object as it is then.
    async fn write(
        &self,
        target: &Target<'_>,
        live: Option<&DynamicObject>,
    ) -> Result<DynamicObject, ApplyError> {
        let mut applied = self.patch(target, &target.apply_patch(live)).await;
        if let Err(ApplyError::Rejected { is_transient: false, .. }) = &applied
            && live.is_some()
            && let Some(now) = target.get().await?
            && let Some(reset) = drift::reset(target.kind, target.desired, &now)
        {
            // Fields of other clients may contradict the desired ones: remove them and apply again.
            self.patch(target, &Patch::Merge(reset)).await?;
            self.metrics.wrote(target.kind.as_str(), "patch");
            applied = self.patch(target, &target.apply_patch(live)).await;
        }
        let written = applied?;
        match drift::prune(target.kind, target.desired, &written) {
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
        let params = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            force: matches!(patch, Patch::Apply(_)),
            ..PatchParams::apply(FIELD_MANAGER)
        };
        let written = target.api.patch(target.name, &params, patch).await;
        written.map_err(|e| failed(target.kind, target.name, e))
    }

    /// Sets the number of brokers. `None`: another autoscaler owns it (ADR 6).
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn scale(
        &self,
        scope: &Scope,
        owner: &Owner,
        replicas: Option<i32>,
    ) -> Result<Applied, ApplyError> {
        let Some(desired) = replicas else { return Ok(Applied::Unchanged) };
        let (kind, name) = (Kind::Deployment, owner.key.object_name());
        let namespace = &owner.key.namespace;
        let live = scope.object(kind, namespace, &name);
        let replicas = live.as_ref().and_then(|d| d.data["spec"]["replicas"].as_i64());
        if replicas == Some(i64::from(desired)) {
            return Ok(Applied::Unchanged);
        }
        // A Deployment that is not cached yet was just created, with the default of 1.
        if live.is_none() && desired == 1 {
            return Ok(Applied::Unchanged);
        }
        self.fence.check()?;
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"replicas": desired},
        });
        let params = PatchParams::apply(SCALE_MANAGER).force();
        let api = scope.api(kind, namespace);
        api.patch_scale(&name, &params, &Patch::Apply(&scale))
            .await
            .map_err(|e| failed(kind, &name, e))?;
        self.metrics.wrote(kind.as_str(), "scale");
        Ok(Applied::Written)
    }

    /// Deletes an object of a kind that is not watched, if it exists and belongs to the owner.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn delete_unwatched(
        &self,
        scope: &Scope,
        owner: &Owner,
        kind: Kind,
    ) -> Result<Applied, ApplyError> {
        let name = owner.key.object_name();
        let api = scope.api(kind, &owner.key.namespace);
        let live = api.get_opt(&name).await.map_err(|e| failed(kind, &name, e))?;
        self.delete(scope, owner, (kind, &name), live.as_ref()).await
    }

    /// Deletes the object if it exists and belongs to the owner.
    async fn delete(
        &self,
        scope: &Scope,
        owner: &Owner,
        (kind, name): (Kind, &str),
        live: Option<&DynamicObject>,
    ) -> Result<Applied, ApplyError> {
        let Some(object) = live.filter(|o| check_ownership(o, owner, kind).is_ok()) else {
            return Ok(Applied::Unchanged);
        };
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(Applied::Unchanged);
        }
        self.fence.check()?;
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: object.metadata.uid.clone(),
            resource_version: None,
        });
        match scope.api(kind, &owner.key.namespace).delete(name, &params).await {
            Ok(_) => self.metrics.wrote(kind.as_str(), "delete"),
            Err(kube::Error::Api(e)) if e.is_not_found() || e.is_conflict() => {}
            Err(error) => return Err(failed(kind, name, error)),
        }
        if let Some(of) = self.last_writes.lock().get_mut(&owner.uid) {
            of.remove(&(kind, name.to_owned()));
        }
        Ok(Applied::Deleted)
    }
}

/// An object to write.
struct Target<'a> {
    api: Api<DynamicObject>,
    kind: Kind,
    name: &'a str,
    desired: &'a Value,
}

impl Target<'_> {
    /// The server-side apply of the desired object. With the uid of the live object, so that it fails if another object took the
    /// name, or none has it.
    fn apply_patch(&self, live: Option<&DynamicObject>) -> Patch<Value> {
        let mut desired = self.desired.clone();
        if let Some(live) = live {
            desired["metadata"]["uid"] = json!(live.metadata.uid);
        }
        Patch::Apply(desired)
    }

    async fn get(&self) -> Result<Option<DynamicObject>, ApplyError> {
        self.api.get_opt(self.name).await.map_err(|e| failed(self.kind, self.name, e))
    }
}

/// Whether the cached version is older than the written one. The API server counts resource versions up.
fn is_older(cached: Option<&str>, written: Option<&str>) -> bool {
    let counter = |version: Option<&str>| version?.parse::<u64>().ok();
    counter(cached).zip(counter(written)).is_some_and(|(cached, written)| cached < written)
}

/// Checks that the object belongs to the owner, or to a deleted one of the same name: a channel that is deleted and applied
/// again takes over its brokers before the garbage collector deletes them, so no stream is interrupted. An object without a
/// controller belongs to the owner if it has the operator's labels.
fn check_ownership(object: &DynamicObject, owner: &Owner, kind: Kind) -> Result<(), ApplyError> {
    let own = &owner.reference;
    let is_owned = object.owner_references().iter().any(|found| {
        found.uid == owner.uid
            || (found.kind == own.kind
                && found.name == owner.key.name
                && found.api_version == own.api_version)
    });
    let labels = object.labels();
    let managed = MANAGED_SELECTOR.split_once('=');
    let is_labelled = managed
        .is_some_and(|(key, value)| labels.get(key).is_some_and(|v| v == value))
        && labels.get(owner.key.kind.label()) == Some(&owner.key.name);
    let has_controller =
        object.owner_references().iter().any(|owner| owner.controller == Some(true));
    if is_owned || (is_labelled && !has_controller) {
        return Ok(());
    }
    Err(ApplyError::NameConflict { kind: kind.as_str(), name: object.name_any() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_lags_behind_is_no_drift() {
        assert!(is_older(Some("9"), Some("10")));
        assert!(!is_older(Some("10"), Some("10")) && !is_older(Some("11"), Some("10")));
        assert!(!is_older(None, Some("10")) && !is_older(Some("x"), Some("10")));
    }
}
