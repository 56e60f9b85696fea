//! Writes the status of a channel, and publishes Events for what changed.

use eventcast_crds::channel::status::EventChannelStatus;
use kube::core::DynamicObject;
use serde_json::json;

use super::{Context, Error, reference};
use crate::{names::FIELD_MANAGER, owner::OwnerKind};

/// Writes the status if it changed. A channel that was deleted meanwhile is no error.
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
    ctx.fence.check()?;
    let mut status = json!(new);
    ctx.schema.remove_unknown(&mut status);
    if ctx
        .scope
        .apply_status(OwnerKind::Channel, raw, FIELD_MANAGER, &status)
        .await
        .map_err(Error::Status)?
    {
        ctx.metrics.wrote("EventChannel", "status");
        ctx.events.conditions_changed(&reference(raw), &old.conditions, &new.conditions).await;
    }
    Ok(())
}
