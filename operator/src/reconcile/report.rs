//! Writes the status of a channel or pool, and publishes Events for what changed.

use eventcast_crds::channel::status::EventChannelStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, core::DynamicObject};
use serde_json::{Value, json};

use super::{Context, Error};
use crate::{names::FIELD_MANAGER, owner::OwnerKind};

/// Writes the status of a channel if it changed. A channel that was deleted meanwhile is no error.
pub(super) async fn write_status(
    raw: &DynamicObject,
    ctx: &Context,
    old: &EventChannelStatus,
    new: EventChannelStatus,
) -> Result<(), Error> {
    // `subscribers` belongs to another field manager.
    let comparable = EventChannelStatus { subscribers: None, ..old.clone() };
    if new == comparable {
        return Ok(());
    }
    let mut status = json!(new);
    ctx.schema.remove_unknown(&mut status);
    apply_status(OwnerKind::Channel, raw, ctx, &status, (&old.conditions, &new.conditions)).await
}

/// Writes the status of a channel or pool, and publishes Events for the conditions that changed, from the first to the second.
pub(crate) async fn apply_status(
    kind: OwnerKind,
    raw: &DynamicObject,
    ctx: &Context,
    status: &Value,
    (old, new): (&[Condition], &[Condition]),
) -> Result<(), Error> {
    ctx.fence.check()?;
    let written = ctx.scope.apply_status(kind, raw, FIELD_MANAGER, status).await;
    if written.map_err(Error::Status)? {
        ctx.metrics.wrote(kind.as_str(), "status");
        ctx.events.conditions_changed(&raw.object_ref(&kind.resource()), old, new).await;
    }
    Ok(())
}
