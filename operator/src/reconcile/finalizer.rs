//! The finalizer, and what it holds a channel for: its stream, where that is to go with it.

use eventcast_crds::channel::{EventChannel, STREAM_FINALIZER, stream::DeletionPolicy};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
    core::DynamicObject,
    runtime::controller::Action,
};
use serde_json::json;

use super::{Context, Error, after, reference, write_status};
use crate::{
    channel::Channel,
    status::{self, conditions, has_reason, reasons},
    stream,
};

/// The channel is going: its stream goes first, where it is to go at all. Objects go by their owner references.
pub(super) async fn finalize(
    raw: &DynamicObject,
    ec: &EventChannel,
    ctx: &Context,
) -> Result<Action, Error> {
    let uid = raw.uid().unwrap_or_default();
    let held = raw.finalizers().iter().any(|f| f == STREAM_FINALIZER);
    if held && ec.spec.deletion_policy == DeletionPolicy::Delete {
        // A spec that was never accepted never had a stream.
        if let Ok(channel) = Channel::new(ec, &ctx.settings) {
            match stream::delete(&ctx.jet, &ctx.fence, &channel, &ctx.settings.cluster).await {
                Ok(Some(change)) => {
                    ctx.metrics.stream_changed(change.label());
                    ctx.events
                        .stream(&reference(raw), &channel.config.stream_name(), &change)
                        .await;
                }
                Ok(None) => {}
                Err(error) => {
                    let old = ec.status.clone().unwrap_or_default();
                    let reason = reasons::STREAM_NOT_DELETED;
                    // Once: the condition goes on saying it.
                    if !has_reason(&old, conditions::READY, reason) {
                        ctx.events.blocked(&reference(raw), &error.message).await;
                    }
                    let stream = error.verdict();
                    let generation = raw.metadata.generation;
                    let new = status::held(&old, generation, stream.clone(), Timestamp::now());
                    write_status(raw, ctx, &old, new).await?;
                    return after(raw, ctx, &old, &[&stream]);
                }
            }
        }
    }
    set_finalizer(raw, ctx, false).await?;
    ctx.applier.forget(&uid);
    Ok(Action::await_change())
}

/// The finalizer is there exactly while it is wanted. One cannot be added to an object that is going.
pub(super) async fn set_finalizer(
    raw: &DynamicObject,
    ctx: &Context,
    wants: bool,
) -> Result<(), Error> {
    let has = raw.finalizers().iter().any(|f| f == STREAM_FINALIZER);
    if has == wants {
        return Ok(());
    }
    let others = raw.finalizers().iter().filter(|f| *f != STREAM_FINALIZER).cloned();
    let all: Vec<_> = others.chain(wants.then(|| STREAM_FINALIZER.to_owned())).collect();
    ctx.fence.check()?;
    // The version that was read: nobody else's finalizer is lost in between.
    let patch = json!({"metadata": {"finalizers": all, "resourceVersion": raw.resource_version()}});
    let api = ctx.scope.channels_api(&raw.namespace().unwrap_or_default());
    match api.patch(&raw.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => {
            ctx.metrics.wrote("EventChannel", "finalizer");
            Ok(())
        }
        Err(kube::Error::Api(e)) if e.is_not_found() => Ok(()),
        Err(error) => Err(Error::Finalizer(error)),
    }
}
