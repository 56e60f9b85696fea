//! Applies every object of a channel.

use eventcast_crds::channel::status::EventChannelStatus;
use eventcast_runtime::Chain;
use kube::core::DynamicObject;
use serde_json::Value;

use super::{Context, reference};
use crate::{
    apply::{Applied, ApplyError},
    channel::Channel,
    kind::Kind,
    objects::{self, Inputs},
    status::{ConditionState, reasons},
};

/// Applies every object, in the order of [`Kind::ALL`], and sets the number of brokers to `replicas`. One failure does not stop the others.
///
/// Returns the condition `Accepted` if an object could not be applied: the first transient failure, else the first failure.
pub(super) async fn apply_objects(
    raw: &DynamicObject,
    channel: &Channel,
    ctx: &Context,
    replicas: Option<i32>,
    old: &EventChannelStatus,
) -> Option<ConditionState> {
    let credentials = ctx.nats.credentials();
    let inputs = Inputs { settings: &ctx.settings, credentials: &credentials };
    let mut failure: Option<ConditionState> = None;
    for kind in Kind::ALL {
        if !ctx.scope.apis.serve(kind) || !ctx.settings.manages(kind) {
            continue;
        }
        let mut desired = objects::build(kind, channel, inputs);
        let waits = kind == Kind::Deployment
            && desired.as_mut().is_some_and(|desired| !may_roll(channel, ctx, desired, old));
        let mut applied = if waits {
            Ok(Applied::Unchanged)
        } else {
            ctx.applier.apply(&ctx.scope, channel, kind, desired).await
        };
        if kind == Kind::Deployment
            && let Ok(written) = applied
        {
            let scaled = ctx.applier.scale(&ctx.scope, channel, replicas).await;
            applied =
                scaled.map(|scaled| if written == Applied::Unchanged { scaled } else { written });
        }
        match applied {
            Ok(Applied::Repaired) => {
                let name = channel.object_name();
                ctx.metrics.repaired(kind.as_str());
                tracing::info!(
                    kind = kind.as_str(),
                    name,
                    "repaired drift: restored an object that another client had changed"
                );
                ctx.events.repaired(&reference(raw), kind.as_str(), &name).await;
            }
            Ok(applied) => tracing::debug!(kind = kind.as_str(), ?applied, "applied"),
            Err(error) => {
                let new = accepted(&error);
                // A transient failure wins, because it decides that the reconciliation is retried.
                if failure.as_ref().is_none_or(|f| new.is_transient && !f.is_transient) {
                    failure = Some(new);
                }
            }
        }
    }
    failure
}

/// Whether the Deployment may be applied as it is wanted. What a person has changed is, together with what the operator itself has changed.
fn may_roll(
    channel: &Channel,
    ctx: &Context,
    desired: &mut Value,
    old: &EventChannelStatus,
) -> bool {
    let key = channel.key();
    let live = ctx.scope.object(Kind::Deployment, &key.0, &channel.object_name());
    let is_changed = old.observed_generation != Some(channel.generation);
    ctx.fleet.admit(&key, live.as_deref(), desired, is_changed)
}

/// The condition `Accepted` after an object could not be applied.
fn accepted(error: &ApplyError) -> ConditionState {
    let message = Chain(error).to_string();
    match error {
        ApplyError::NameConflict { .. } => ConditionState::failed(reasons::NAME_CONFLICT, message),
        ApplyError::Rejected { is_transient: false, .. } => {
            ConditionState::failed(reasons::APPLY_FAILED, message)
        }
        _ => ConditionState::transient(reasons::APPLY_FAILED, message),
    }
}
