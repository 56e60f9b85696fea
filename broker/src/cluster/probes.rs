//! Events of delivery probes: from the broker that probes to the one that serves its stream, over plain NATS. They are not stored: in a
//! small log they would displace the events of publishers. Subjects are `eventcast.ctl.<namespace>.<name>.probe.<id>`.

use std::time::Duration;

use async_nats::{Client, RequestErrorKind, Subscriber};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::store::Store;
use crate::identity::RandomId;

/// How long the broker that serves the stream may take to confirm an event.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);
/// How often to check whether the stream has ended.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What became of an event of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeDelivery {
    /// A broker has sent it to the stream.
    Delivered,
    /// No broker serves the stream.
    NoStream,
    /// NATS cannot be reached.
    Unknown,
}

/// Sends and receives the events of probes of one channel.
#[derive(Clone)]
pub(crate) struct Probes {
    client: Client,
    prefix: String,
}

impl Probes {
    pub(super) fn new(store: &Store) -> Self {
        Self { client: store.client(), prefix: format!("{}.probe", store.control_prefix()) }
    }

    /// Sends an event to the stream of the probe `id`, whichever broker serves it.
    ///
    /// # Cancel safety
    /// The event may arrive after a cancellation.
    pub(crate) async fn send(&self, id: RandomId, number: u32) -> ProbeDelivery {
        let subject = format!("{}.{id}", self.prefix);
        let request = self.client.request(subject, number.to_string().into());
        match timeout(CONFIRM_TIMEOUT, request).await {
            Ok(Ok(_)) => ProbeDelivery::Delivered,
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                ProbeDelivery::NoStream
            }
            Ok(Err(_)) | Err(_) => ProbeDelivery::Unknown,
        }
    }

    /// Receives the events for the stream of the probe `id` from now on. `None` if NATS cannot be reached.
    pub(crate) async fn receive(&self, id: RandomId) -> Option<Subscriber> {
        let events = self.client.subscribe(format!("{}.{id}", self.prefix)).await.ok()?;
        timeout(CONFIRM_TIMEOUT, self.client.flush()).await.ok()?.ok()?;
        Some(events)
    }

    /// Hands each event to `give` and confirms it, until `is_open` says that the stream has ended.
    pub(crate) async fn relay(
        self,
        mut events: Subscriber,
        is_open: impl Fn() -> bool,
        give: impl Fn(u32),
    ) {
        while is_open() {
            let Ok(event) = timeout(CHECK_INTERVAL, events.next()).await else { continue };
            let Some(event) = event else { return };
            let number =
                std::str::from_utf8(&event.payload).ok().and_then(|text| text.parse().ok());
            let (Some(number), Some(reply)) = (number, event.reply) else { continue };
            give(number);
            if let Err(error) = self.client.publish(reply, "given".into()).await {
                tracing::debug!(%error, "failed to confirm an event of a delivery probe");
            }
        }
    }
}
