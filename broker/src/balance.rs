//! Closing streams at the request of the operator, so that brokers have about the same number ([`eventcast_crds::orders`]).
//!
//! [`orders`] says which order is in force, [`schedule`] how many streams are due; both are pure. [`Shedder`] chooses the streams.

mod orders;
mod recent;
mod schedule;

use std::{sync::Arc, time::Duration};

use eventcast_crds::config::Balancing;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{
    clock::now_seconds,
    metrics::Metrics,
    sessions::{Sessions, Shedder},
    watch,
};

use orders::{OrderUpdate, Orders};
use schedule::Schedule;

/// How often the file with the order is read.
const ORDER_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often streams are closed, as many at a time as are due.
const STEP: Duration = Duration::from_millis(20);

/// What the broker has done for balance.
#[derive(Default)]
pub(crate) struct Balance {
    /// The id of the last order that was followed.
    last_order: Mutex<Option<String>>,
}

impl Balance {
    /// The id of the last order that was followed.
    pub(crate) fn last_order(&self) -> Option<String> {
        self.last_order.lock().clone()
    }

    /// Closes streams while there are more than the order in force wants. `settings` are the newest of the configuration. Never returns.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn follow_orders(
        &self,
        sessions: &Arc<Sessions>,
        metrics: &Metrics,
        settings: impl Fn() -> Balancing,
    ) {
        let (mut orders, mut schedule) = (Orders::default(), Schedule::default());
        let mut shedder = Shedder::new(sessions);
        let (began, mut read_at) = (Instant::now(), None);
        loop {
            let (now, settings) = (began.elapsed(), settings());
            if read_at.is_none_or(|at| now >= at + ORDER_POLL_INTERVAL) {
                read_at = Some(now);
                self.read_order(&mut orders, &settings, now);
            }
            let ceiling = orders.ceiling(now);
            metrics.shed_ceiling.set(ceiling.map_or(0, |n| i64::try_from(n).unwrap_or(i64::MAX)));
            // While NATS is unreachable, a client that reconnects cannot resume.
            let ceiling = ceiling.filter(|_| metrics.nats_connected.get() == 1);
            let open = sessions.count_of_remaining();
            let Some(ceiling) = ceiling.filter(|ceiling| open > *ceiling) else {
                schedule.pause();
                shedder.reset();
                sleep(ORDER_POLL_INTERVAL).await;
                continue;
            };
            let min_age = Duration::from_secs(settings.min_stream_seconds);
            let due = schedule.due(now, open, ceiling, settings.shed_per_second);
            let per_second = usize::try_from(settings.shed_per_second).unwrap_or(usize::MAX);
            let closed = shedder.close(due, per_second, min_age);
            schedule.closed(now, open, closed);
            sleep(STEP).await;
        }
    }

    fn read_order(&self, orders: &mut Orders, settings: &Balancing, now: Duration) {
        let content = settings.orders_file.as_deref().map(watch::read);
        match orders.read(content, now_seconds(), now) {
            OrderUpdate::Nothing => {}
            OrderUpdate::Order(order) => {
                let (id, ceiling, seconds) = (&order.id, order.ceiling, order.seconds);
                tracing::info!(
                    order = id,
                    ceiling,
                    seconds,
                    "closing streams for balance above a ceiling"
                );
                *self.last_order.lock() = Some(order.id.clone());
            }
            OrderUpdate::Ignored(reason) => {
                tracing::warn!(reason, "ignored an order to close streams for balance");
            }
        }
    }
}
