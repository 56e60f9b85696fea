//! Applies every object of a channel or pool.

use eventcast_runtime::Chain;
use kube::{Resource, core::DynamicObject};
use serde_json::Value;

use super::Context;
use crate::{
    apply::{Applied, ApplyError},
    kind::Kind,
    objects::{self, Backend, Inputs},
    status::{ConditionState, reasons},
    workload::Workload,
};

/// The objects of a channel or pool.
#[derive(Clone, Copy)]
pub(crate) struct Objects<'a> {
    /// The brokers that they belong to.
    pub(crate) workload: &'a Workload,
    /// The brokers that clients reach.
    pub(crate) backend: &'a Backend,
    /// Whether there are brokers of its own.
    pub(crate) has_brokers: bool,
    /// The number of brokers; `None`: another autoscaler owns it.
    pub(crate) replicas: Option<i32>,
    /// The generation that was reconciled last.
    pub(crate) observed_generation: Option<i64>,
}

/// Applies every object, in the order of [`Kind::ALL`], and sets the number of brokers. One failure does not stop the others.
///
/// Returns the condition `Accepted` if an object could not be applied: the first transient failure, else the first failure.
pub(crate) async fn apply_objects(
    raw: &DynamicObject,
    objects: Objects<'_>,
    ctx: &Context,
) -> Option<ConditionState> {
    let Objects { workload, backend, has_brokers, replicas, .. } = objects;
    let credentials = ctx.nats.credentials();
    let inputs =
        Inputs { settings: &ctx.settings, credentials: &credentials, backend, has_brokers };
    let owner = &workload.owner;
    let name = owner.key.object_name();
    let (mut failure, mut had_brokers) = (None::<ConditionState>, false);
    for kind in Kind::ALL {
        if !ctx.scope.apis.serve(kind) || !ctx.settings.manages(kind) {
            continue;
        }
        let mut desired = objects::build(kind, workload, inputs);
        let is_scaled = kind == Kind::Deployment && desired.is_some();
        let waits = kind == Kind::Deployment
            && desired.as_mut().is_some_and(|desired| !may_roll(objects, ctx, desired));
        let mut applied = if waits {
            Ok(Applied::Unchanged)
        } else {
            ctx.applier.apply(&ctx.scope, owner, (kind, &name), desired).await
        };
        if is_scaled && let Ok(written) = applied {
            let scaled = ctx.applier.scale(&ctx.scope, owner, replicas).await;
            applied =
                scaled.map(|scaled| if written == Applied::Unchanged { scaled } else { written });
        }
        match applied {
            Ok(Applied::Repaired) => {
                ctx.metrics.repaired(kind.as_str());
                tracing::info!(
                    kind = kind.as_str(),
                    name,
                    "repaired drift: restored an object that another client had changed"
                );
                let reference = raw.object_ref(&owner.key.kind.resource());
                ctx.events.repaired(&reference, kind.as_str(), &name).await;
            }
            Ok(applied) => {
                had_brokers |= kind == Kind::Deployment && applied == Applied::Deleted;
                tracing::debug!(kind = kind.as_str(), ?applied, "applied");
            }
            Err(error) => {
                let new = not_applied(&error);
                // A transient failure wins, because it decides that the reconciliation is retried.
                if failure.as_ref().is_none_or(|f| new.is_transient && !f.is_transient) {
                    failure = Some(new);
                }
            }
        }
    }
    // Nobody watches Secrets: this one is deleted together with the brokers that used it.
    if had_brokers
        && ctx.settings.manages(Kind::Secret)
        && let Err(error) = ctx.applier.delete_unwatched(&ctx.scope, owner, Kind::Secret).await
    {
        failure.get_or_insert(not_applied(&error));
    }
    failure
}

/// Whether the Deployment may be applied as it is wanted. What a person has changed is, together with what the operator itself has changed.
fn may_roll(objects: Objects<'_>, ctx: &Context, desired: &mut Value) -> bool {
    let owner = &objects.workload.owner;
    let name = owner.key.object_name();
    let live = ctx.scope.object(Kind::Deployment, &owner.key.namespace, &name);
    let is_changed = objects.observed_generation != Some(owner.generation);
    ctx.fleet.admit(&owner.key, live.as_deref(), desired, is_changed)
}

/// The condition `Accepted` after an object could not be applied.
pub(crate) fn not_applied(error: &ApplyError) -> ConditionState {
    let message = Chain(error).to_string();
    match error {
        ApplyError::NameConflict { .. } => ConditionState::failed(reasons::NAME_CONFLICT, message),
        ApplyError::Rejected { is_transient: false, .. } => {
            ConditionState::failed(reasons::APPLY_FAILED, message)
        }
        _ => ConditionState::transient(reasons::APPLY_FAILED, message),
    }
}
