//! Checks the events of a request against the grant of its publisher. Pure.

use eventcast_wire::{
    event::{DEFAULT_TYPE, Draft},
    topic,
};

use super::{
    super::problem::{Challenge, Kind},
    Problem, key,
};
use crate::access::{Grant, PublishGrant};

/// Checks all of `drafts` before any is stored. Sets the source that the grant forces, and scopes keys to the publisher.
///
/// # Errors
/// A problem that names the first event that is not granted, by its line in a batch.
pub(crate) fn apply(drafts: &mut [Draft], grant: &Grant, is_batch: bool) -> Result<(), Problem> {
    let Some(publish) = &grant.publish else { return Err(refused("nothing is granted")) };
    for (i, draft) in drafts.iter_mut().enumerate() {
        check(draft, publish).map_err(|p| if is_batch { p.with("line", i + 1) } else { p })?;
        if let Some(source) = &publish.source {
            draft.source = Some(source.to_string());
        }
        if let Some(identity) = &grant.identity {
            draft.key = key::scoped(identity, &draft.key);
        }
    }
    Ok(())
}

fn check(draft: &Draft, publish: &PublishGrant) -> Result<(), Problem> {
    let topic = draft.topic.as_deref().map(|tokens| topic::decode(tokens).unwrap_or_default());
    let event_type = draft.event_type.as_deref().unwrap_or(DEFAULT_TYPE);
    publish.check(topic.as_deref(), event_type).map_err(|why| refused(&why.to_string()))?;
    // The source of a structured CloudEvent is in its data, which is stored unchanged.
    match (&publish.source, &draft.source) {
        (Some(forced), Some(source)) if draft.cloudevent && **forced != **source => {
            Err(refused(&format!("the source of CloudEvents must be {forced:?}")))
        }
        _ => Ok(()),
    }
}

fn refused(why: &str) -> Problem {
    let detail =
        format!("The grant of this client does not cover the request: {why}. Nothing was stored.");
    Problem::new(Kind::NOT_GRANTED, detail).challenge(Challenge::InsufficientScope)
}
