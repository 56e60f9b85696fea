//! Events that the broker itself appends to the log, with a reserved type (`eventcast.*`).
//!
//! They bypass the checks of what publishers send, and have subjects of their own ([`eventcast_wire::subject`]). A request body
//! only becomes [`Draft`](eventcast_wire::event::Draft)s, which are never stored under these subjects. A reserved type under any
//! other subject is an invalid event.
//!
//! Nothing uses this yet. The first user must add `<prefix>.internal.>` to the subjects of the stream (`eventcast_crds::stream`);
//! without it, NATS answers that the channel has no stream.

use bytes::Bytes;
use eventcast_wire::{
    event::{self, BadEvent},
    topic,
};

/// An event of the broker itself.
#[derive(Clone, Debug)]
pub(crate) struct InternalEvent {
    pub(super) event_type: String,
    /// Encoded as the tokens of a subject; `None` is a broadcast.
    pub(super) topic: Option<String>,
    pub(super) data: Bytes,
    /// The message id by which JetStream deduplicates.
    pub(super) key: String,
}

#[cfg_attr(not(test), expect(dead_code, reason = "the broker publishes no events yet"))]
impl InternalEvent {
    /// An event with a reserved type. Events with the same `key` are stored once within the stream's deduplication window.
    ///
    /// # Errors
    /// The type is not reserved, or type or topic break the rules of names.
    pub(crate) fn new(
        event_type: &str,
        topic: Option<&str>,
        data: String,
        key: String,
    ) -> Result<Self, BadEvent> {
        event::check_reserved_type(event_type)?;
        let topic = topic.map(topic::encode).transpose()?;
        Ok(Self { event_type: event_type.to_owned(), topic, data: Bytes::from(data), key })
    }
}
