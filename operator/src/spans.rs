//! The spans of the operator. This is its only module that uses the OpenTelemetry API.
//!
//! A reconciliation is a span only if it has written something or has failed, so the span is made when it is over.

use std::{
    cell::{Cell, RefCell},
    time::SystemTime,
};

use eventcast_runtime::traces::{names, tracer};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _},
};

tokio::task_local! {
    static RECONCILIATION: Reconciliation;
}

/// What happens in one reconciliation.
#[derive(Default)]
struct Reconciliation {
    writes: Cell<i64>,
    steps: RefCell<Vec<Step>>,
}

struct Step {
    name: &'static str,
    began: SystemTime,
    ended: SystemTime,
    writes: i64,
    failure: Option<&'static str>,
}

/// `reconcile`: runs `future`, which reconciles `channel`. `reason`: why a failure is one.
///
/// # Errors
/// Those of `future`.
pub async fn reconcile<T, E>(
    channel: String,
    generation: Option<i64>,
    reason: impl FnOnce(&E) -> &'static str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    if tracer().is_none() {
        return future.await;
    }
    let reconciliation = async {
        let began = now();
        let result = future.await;
        let failure = result.as_ref().err().map(reason);
        RECONCILIATION
            .with(|reconciliation| reconciliation.end(channel, generation, began, failure));
        result
    };
    RECONCILIATION.scope(Reconciliation::default(), reconciliation).await
}

/// A step of a reconciliation. `failure`: why its result is one.
pub async fn step<T>(
    name: &'static str,
    failure: impl FnOnce(&T) -> Option<&'static str>,
    future: impl Future<Output = T>,
) -> T {
    let Ok(before) = RECONCILIATION.try_with(|reconciliation| reconciliation.writes.get()) else {
        return future.await;
    };
    let began = now();
    let result = future.await;
    let failure = failure(&result);
    RECONCILIATION.with(|reconciliation| {
        let writes = reconciliation.writes.get() - before;
        reconciliation.steps.borrow_mut().push(Step { name, began, ended: now(), writes, failure });
    });
    result
}

/// Something was written: an object, a status, or a stream.
pub fn wrote() {
    // Outside of a reconciliation there is no span.
    RECONCILIATION
        .try_with(|reconciliation| reconciliation.writes.set(reconciliation.writes.get() + 1))
        .unwrap_or_default();
}

impl Reconciliation {
    fn end(
        &self,
        channel: String,
        generation: Option<i64>,
        began: SystemTime,
        failure: Option<&'static str>,
    ) {
        if self.writes.get() == 0 && failure.is_none() {
            return;
        }
        let Some(tracer) = tracer() else { return };
        let builder = SpanBuilder::from_name("reconcile")
            .with_kind(SpanKind::Internal)
            .with_start_time(began)
            .with_attributes([
                KeyValue::new(names::CHANNEL, channel),
                KeyValue::new(names::GENERATION, generation.unwrap_or_default()),
                KeyValue::new(names::WRITES, self.writes.get()),
            ]);
        let mut span = tracer.build_with_context(builder, &Context::new());
        let parent = Context::new().with_remote_span_context(span.span_context().clone());
        for Step { name, began, ended, writes, failure } in self.steps.take() {
            let builder = SpanBuilder::from_name(name)
                .with_kind(SpanKind::Client)
                .with_start_time(began)
                .with_attributes([KeyValue::new(names::WRITES, writes)]);
            let mut step = tracer.build_with_context(builder, &parent);
            fail(&mut step, failure);
            step.end_with_timestamp(ended);
        }
        fail(&mut span, failure);
        span.end();
    }
}

fn fail(span: &mut opentelemetry_sdk::trace::Span, failure: Option<&'static str>) {
    if let Some(failure) = failure {
        span.set_attribute(KeyValue::new(names::ERROR_TYPE, failure));
        span.set_status(Status::error(failure));
    }
}

fn now() -> SystemTime {
    SystemTime::now()
}
