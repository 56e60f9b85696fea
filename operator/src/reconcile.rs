//! One visit to a channel: read -> validate -> stream -> build -> apply -> observe -> status.
//!
//! Each step reports into its own condition, and a step that fails does not keep the others from their work: while NATS is away
//! brokers are still repaired. The status is always written, failures included. What a visit cannot do is tried again, later each
//! time; what a person must mend waits for a change, or for the next resync.

mod finalizer;
mod parse;

use std::{sync::Arc, time::Duration};

use eventcast_crds::{
    channel::{
        PAUSED_ANNOTATION,
        status::{EventChannelStatus, StreamStatus},
        stream::DeletionPolicy,
    },
    stream::exceeds_payload,
};
use eventcast_runtime::Chain;
use jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::DynamicObject,
    runtime::controller::Action,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    apply::{Applier, ApplyError, Done},
    backoff::Backoff,
    build::{self, Inputs},
    channel::Channel,
    events::Events,
    kind::Kind,
    leader::{Fence, Fenced},
    metrics::Metrics,
    names::MANAGER,
    nats::Jet,
    observe,
    schema::Schema,
    scope::{Scope, channels_resource},
    settings::Settings,
    status::{self, Facts, Verdict, reasons},
    stream,
};
use finalizer::{finalize, set_finalizer};
use parse::{Parsed, parse};

/// What every visit is given.
pub struct Context {
    /// What holds for all channels.
    pub settings: Arc<Settings>,
    /// The watched namespaces.
    pub scope: Arc<Scope>,
    /// NATS.
    pub jet: Arc<Jet>,
    /// Writes objects.
    pub applier: Arc<Applier>,
    /// Whether we may write.
    pub fence: Fence,
    /// Tells Events.
    pub events: Events,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Who waits how long.
    pub backoff: Arc<Backoff>,
    /// How CRD and operator differ.
    pub schema: Arc<Schema>,
    /// A channel that nothing happens to is looked at this often.
    pub resync: Duration,
}

/// Why a visit is to be repeated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the channel is not as it should be; the condition says more.
    #[error("{reason}: {message}")]
    NotReady {
        /// One of the conditions' reasons.
        reason: &'static str,
        /// The condition's words.
        message: String,
    },
    /// The status could not be written.
    #[error("failed to write the status")]
    Status(#[source] kube::Error),
    /// The finalizer could not be set or removed.
    #[error("failed to write the finalizer")]
    Finalizer(#[source] kube::Error),
    /// Somebody else leads.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The visit panicked: the operator ends.
    #[error("the visit failed: {0}")]
    Panicked(String),
}

impl Error {
    /// A finite set, for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotReady { reason, .. } => reason,
            Self::Status(_) => "StatusNotWritten",
            Self::Finalizer(_) => "FinalizerNotWritten",
            Self::Fenced(_) => "NotLeader",
            Self::Panicked(_) => "Panicked",
        }
    }
}

/// A visit.
///
/// # Errors
/// It is to be repeated; [`retry`] says when.
pub async fn reconcile(raw: Arc<DynamicObject>, ctx: Arc<Context>) -> Result<Action, Error> {
    let _timer = ctx.metrics.reconcile_seconds.start_timer();
    ctx.fence.check()?;
    let result = visit(&raw, &ctx).await;
    ctx.metrics.reconciled(result.is_ok());
    if result.is_ok() {
        ctx.backoff.forget(&raw.uid().unwrap_or_default());
    }
    result
}

/// When a visit that failed is repeated.
pub fn retry(raw: &DynamicObject, error: &Error, ctx: &Context) -> Action {
    ctx.metrics.failed(error.reason());
    let wait = ctx.backoff.failed(&raw.uid().unwrap_or_default(), Instant::now());
    tracing::warn!(
        channel = %key(raw),
        error = %Chain(error), again_in = ?wait, "a channel is not ready"
    );
    Action::requeue(wait)
}

async fn visit(raw: &DynamicObject, ctx: &Context) -> Result<Action, Error> {
    let old = parse::old_status(raw);
    let generation = raw.metadata.generation;
    let (ec, unknown) = match parse(raw) {
        Parsed::Channel { channel, unknown } => (channel, unknown),
        Parsed::Unreadable(why) => {
            let message = format!(
                "this operator cannot read the object ({why}): upgrade the operator, or correct the object"
            );
            return refused(raw, ctx, &old, Verdict::bad(reasons::UNREADABLE, message)).await;
        }
    };
    if raw.metadata.deletion_timestamp.is_some() {
        return Box::pin(finalize(raw, &ec, ctx)).await;
    }
    if raw.annotations().get(PAUSED_ANNOTATION).is_some_and(|v| v == "true") {
        write_status(raw, ctx, &old, status::paused(&old, Timestamp::now())).await?;
        return Ok(Action::await_change());
    }
    let channel = match Channel::new(&ec, &ctx.settings) {
        Ok(channel) => channel,
        Err(problems) => {
            let verdict = Verdict::bad(reasons::INVALID_SPEC, problems.join("; "));
            return refused(raw, ctx, &old, verdict).await;
        }
    };
    // Before the stream is made: a channel that is deleted in between must not leave it behind.
    let wants = channel.spec.deletion_policy == DeletionPolicy::Delete;
    set_finalizer(raw, ctx, wants).await?;

    let (stream_ready, stream) = ensure_stream(raw, &channel, ctx, old.stream.is_some()).await;
    let foreign = stream_ready.reason == reasons::NOT_OWNED;
    let accepted = if foreign {
        // Brokers would serve what belongs to somebody else.
        accepted(&ctx.schema, &unknown)
    } else {
        apply_all(raw, &channel, ctx).await.unwrap_or_else(|| accepted(&ctx.schema, &unknown))
    };
    let facts = observe(&channel, ctx, accepted, stream_ready, stream, foreign);
    let new = status::status(&old, generation, &facts, Timestamp::now());
    write_status(raw, ctx, &old, new).await?;
    after(raw, ctx, &old, &[&facts.accepted, &facts.stream_ready])
}

/// When to come again. Brokers that are not ready yet are no reason: the watch tells when they are.
fn after(
    raw: &DynamicObject,
    ctx: &Context,
    old: &EventChannelStatus,
    verdicts: &[&Verdict],
) -> Result<Action, Error> {
    let failed = || verdicts.iter().filter(|v| v.holds == Some(false));
    if let Some(v) = failed().find(|v| v.passing) {
        return Err(Error::NotReady { reason: v.reason, message: v.message.clone() });
    }
    for Verdict { reason, message, .. } in failed() {
        ctx.metrics.failed(reason);
        // Once: the condition goes on saying it.
        if !old.conditions.iter().any(|c| c.reason == *reason && c.message == *message) {
            tracing::warn!(channel = %key(raw), reason, message, "a channel waits for a change");
        }
    }
    Ok(Action::requeue(ctx.resync.mul_f64(0.8 + 0.4 * fastrand::f64())))
}

/// `<namespace>/<name>`, for logs.
fn key(raw: &DynamicObject) -> String {
    format!("{}/{}", raw.namespace().unwrap_or_default(), raw.name_any())
}

/// The object is of no use until somebody changes it: what it was made of stays as it is.
async fn refused(
    raw: &DynamicObject,
    ctx: &Context,
    old: &EventChannelStatus,
    accepted: Verdict,
) -> Result<Action, Error> {
    let blocked = || Verdict::blocked("a spec that can be accepted");
    let facts = Facts {
        accepted,
        stream_ready: blocked(),
        available: blocked(),
        exposed: blocked(),
        stream: None,
        brokers: None,
        url: None,
    };
    let new = status::status(old, raw.metadata.generation, &facts, Timestamp::now());
    write_status(raw, ctx, old, new).await?;
    after(raw, ctx, old, &[&facts.accepted])
}

fn accepted(schema: &Schema, unknown: &[String]) -> Verdict {
    if !unknown.is_empty() {
        let fields = unknown.join(", ");
        let message = format!(
            "this operator does not know {fields}: they have no effect; upgrade the operator"
        );
        return Verdict::good(reasons::UNKNOWN_FIELDS, message);
    }
    match schema.missing() {
        missing if missing.is_empty() => {
            Verdict::good(reasons::ACCEPTED, "everything that was asked for can be made")
        }
        missing => {
            let fields = missing.join(", ");
            let message = format!(
                "the CRD of this cluster is older than the operator and lacks {fields}: apply the CRD of the operator's version"
            );
            Verdict::good(reasons::CRD_OLDER, message)
        }
    }
}

async fn ensure_stream(
    raw: &DynamicObject,
    channel: &Channel,
    ctx: &Context,
    known: bool,
) -> (Verdict, Option<StreamStatus>) {
    let is_gone = |namespace: &str, name: &str| ctx.scope.is_gone(namespace, name);
    let ensured =
        stream::ensure(&ctx.jet, &ctx.fence, channel, &ctx.settings.cluster, known, is_gone).await;
    match ensured {
        Ok(stream::Ensured { status, change, note }) => {
            if let Some(change) = change {
                ctx.metrics.stream_changed(change.label());
                ctx.events.stream(&reference(raw), &status.name, &change).await;
                tracing::info!(stream = status.name, ?change, "a stream was changed");
            }
            (stream_ready(channel, ctx, &status.name, note), Some(status))
        }
        Err(error) => (error.verdict(), None),
    }
}

/// The stream is there; what is to be known about it all the same.
fn stream_ready(channel: &Channel, ctx: &Context, stream: &str, note: Option<String>) -> Verdict {
    if let Some(problem) = exceeds_payload(&channel.config, ctx.jet.max_payload()) {
        return Verdict::good(reasons::MAX_PAYLOAD, problem);
    }
    let note = note.map(|note| format!("; {note}")).unwrap_or_default();
    Verdict::good(reasons::STREAM_READY, format!("the stream {stream} is as it should be{note}"))
}

/// Applies every object; the first that cannot be is the verdict.
async fn apply_all(raw: &DynamicObject, channel: &Channel, ctx: &Context) -> Option<Verdict> {
    let credentials = ctx.jet.credentials();
    let inputs = Inputs { settings: &ctx.settings, credentials: &credentials };
    let mut verdict = None;
    for kind in Kind::ALL {
        // Without credentials there is no right to touch Secrets either.
        if !ctx.scope.apis.serve(kind) || (kind == Kind::Secret && !ctx.settings.has_credentials())
        {
            continue;
        }
        let wanted = build::build(kind, channel, inputs);
        let applied = ctx.applier.apply(&ctx.scope, channel, kind, wanted).await;
        let done = match applied {
            Ok(done) if kind == Kind::Deployment => ctx
                .applier
                .scale(&ctx.scope, channel)
                .await
                .map(|scaled| if done == Done::Nothing { scaled } else { done }),
            other => other,
        };
        match done {
            Ok(Done::Repaired) => {
                ctx.metrics.repaired(kind.as_str());
                tracing::info!(
                    kind = kind.as_str(),
                    name = channel.object_name(),
                    "drift: put back"
                );
                ctx.events.repaired(&reference(raw), kind.as_str(), &channel.object_name()).await;
            }
            Ok(done) => tracing::debug!(kind = kind.as_str(), ?done, "applied"),
            Err(error) => {
                let message = Chain(&error).to_string();
                let new = match &error {
                    ApplyError::NameConflict { .. } => {
                        Verdict::bad(reasons::NAME_CONFLICT, message)
                    }
                    ApplyError::Refused { passing: false, .. } => {
                        Verdict::bad(reasons::APPLY_FAILED, message)
                    }
                    _ => Verdict::passing(reasons::APPLY_FAILED, message),
                };
                // One that may pass is tried again, whatever else is wrong.
                if verdict.as_ref().is_none_or(|v: &Verdict| new.passing && !v.passing) {
                    verdict = Some(new);
                }
            }
        }
    }
    verdict
}

fn observe(
    channel: &Channel,
    ctx: &Context,
    accepted: Verdict,
    stream_ready: Verdict,
    stream: Option<StreamStatus>,
    foreign: bool,
) -> Facts {
    let name = channel.object_name();
    let object = |kind| ctx.scope.object(kind, &channel.namespace, &name);
    let deployment = object(Kind::Deployment);
    let pods = ctx.scope.pods_of(&channel.namespace, &channel.name);
    let pods = pods.iter().map(|pod| &**pod);
    let (brokers, mut available) =
        observe::brokers(channel, &ctx.settings, deployment.as_deref(), pods);
    if foreign && deployment.is_none() {
        available = Verdict::blocked("a stream of its own");
    }
    let service = object(Kind::Service);
    let balancer = service.as_deref().and_then(observe::balancer);
    Facts {
        accepted,
        stream_ready,
        available,
        exposed: observe::exposed(channel, ctx.scope.apis, object(Kind::Route).as_deref()),
        stream,
        brokers: Some(brokers),
        url: Some(build::exposure::url(channel, &ctx.settings.cluster_domain, balancer.as_deref())),
    }
}

/// Writes the status where it is another one, and tells what has changed.
async fn write_status(
    raw: &DynamicObject,
    ctx: &Context,
    old: &EventChannelStatus,
    new: EventChannelStatus,
) -> Result<(), Error> {
    let without_count = EventChannelStatus { subscribers: None, ..old.clone() };
    if new == without_count {
        return Ok(());
    }
    ctx.fence.check()?;
    let mut body = json!(new);
    ctx.schema.strip(&mut body);
    let patch = status_patch(raw, &body);
    let api = ctx.scope.channels_api(&raw.namespace().unwrap_or_default());
    let params = PatchParams::apply(MANAGER).force();
    match api.patch_status(&raw.name_any(), &params, &Patch::Apply(&patch)).await {
        Ok(_) => ctx.metrics.wrote("EventChannel", "status"),
        // It went meanwhile.
        Err(kube::Error::Api(e)) if e.is_not_found() => return Ok(()),
        Err(error) => return Err(Error::Status(error)),
    }
    ctx.events.changed(&reference(raw), old, &new).await;
    Ok(())
}

/// A status as server-side apply takes it: of this very object, not of one that is made anew under the name.
#[must_use]
pub fn status_patch(raw: &DynamicObject, status: &Value) -> Value {
    let resource = channels_resource();
    json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": raw.name_any(), "namespace": raw.namespace(), "uid": raw.uid()},
        "status": status,
    })
}

fn reference(raw: &DynamicObject) -> k8s_openapi::api::core::v1::ObjectReference {
    raw.object_ref(&channels_resource())
}
