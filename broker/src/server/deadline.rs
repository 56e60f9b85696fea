//! The deadline of a connection that waits for its client. The task of the connection polls it after everything else, so it sees
//! every change of the connection's phase.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::HEAD_TIMEOUT;
use crate::sockets::Connection;

/// Fires when the connection has waited too long.
pub(super) struct Deadline {
    connection: Arc<Connection>,
    idle: Duration,
    first_head_by: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    pub(super) fn new(
        connection: Arc<Connection>,
        idle: Duration,
        first_head_by: Option<Instant>,
    ) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + HEAD_TIMEOUT));
        Self { connection, idle, first_head_by, timer }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(mut deadline) = self.connection.deadline(HEAD_TIMEOUT, self.idle) else {
                return Poll::Pending;
            };
            if let Some(by) = self.first_head_by.filter(|_| !self.connection.had_request()) {
                deadline = deadline.min(by);
            }
            // Moved back only when it fires, so that a busy connection does not touch the timer wheel.
            if self.timer.deadline() > deadline {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}
