//! The finalizer, which keeps a deleted channel until its stream is deleted.

use eventcast_crds::channel::{EventChannel, STREAM_FINALIZER, stream::DeletionPolicy};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
    core::DynamicObject,
    runtime::controller::Action,
};
use serde_json::json;

use super::{Context, Error, next_action, reference, write_status};
use crate::{
    channel::Channel,
    status::{self, conditions, has_reason, reasons},
    stream,
};

/// Handles a channel that is being deleted: deletes its stream if the deletion policy says so, then removes the finalizer. The
/// garbage collector deletes the objects, by their owner references.
pub(super) async fn finalize(
    raw: &DynamicObject,
    ec: &EventChannel,
    ctx: &Context,
) -> Result<Action, Error> {
    let uid = raw.uid().unwrap_or_default();
    let has_finalizer = raw.finalizers().iter().any(|f| f == STREAM_FINALIZER);
    if has_finalizer && ec.spec.deletion_policy == DeletionPolicy::Delete {
        // A channel whose spec was never valid has no stream.
        if let Ok(channel) = Channel::new(ec, &ctx.settings) {
            match stream::delete(&ctx.nats, &ctx.fence, &channel, &ctx.settings.cluster).await {
                Ok(Some(change)) => {
                    let stream = channel.config.stream_name();
                    ctx.metrics.stream_changed(change.label());
                    ctx.events.stream_changed(&reference(raw), &stream, &change).await;
                }
                Ok(None) => {}
                Err(error) => {
                    let old = ec.status.clone().unwrap_or_default();
                    let stream_ready = error.condition;
                    // One Event; the condition stays.
                    if !has_reason(&old, conditions::READY, reasons::STREAM_NOT_DELETED) {
                        let cause = &stream_ready.message;
                        ctx.events.deletion_blocked(&reference(raw), cause).await;
                    }
                    let generation = raw.metadata.generation;
                    let now = Timestamp::now();
                    let new = status::deletion_blocked(&old, generation, stream_ready.clone(), now);
                    write_status(raw, ctx, &old, new).await?;
                    return next_action(raw, ctx, &old, &[&stream_ready]);
                }
            }
        }
    }
    set_finalizer(raw, ctx, false).await?;
    ctx.applier.forget(&uid);
    Ok(Action::await_change())
}

/// Adds or removes the finalizer. The API server does not allow to add one to an object that is being deleted.
pub(super) async fn set_finalizer(
    raw: &DynamicObject,
    ctx: &Context,
    is_needed: bool,
) -> Result<(), Error> {
    let exists = raw.finalizers().iter().any(|f| f == STREAM_FINALIZER);
    if exists == is_needed {
        return Ok(());
    }
    let others = raw.finalizers().iter().filter(|f| *f != STREAM_FINALIZER).cloned();
    let all: Vec<_> = others.chain(is_needed.then(|| STREAM_FINALIZER.to_owned())).collect();
    ctx.fence.check()?;
    // With the version that was read, so that the finalizer of another client cannot be lost.
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
