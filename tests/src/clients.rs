//! Real SSE clients: the adapters of `tests/clients`, curl, and anything else that reports what it receives as [`Line`]s.
//!
//! - [`Entry`]: a client as `clients.json` describes it, quirks included;
//! - [`Adapter`], [`Curl`]: children that are [`Source`]s of lines;
//! - [`Client`]: what one of them has seen so far; [`Published`] says whether that is everything, once, in order.

mod adapter;
mod curl;
mod judge;
mod stub;
mod table;

pub use adapter::Adapter;
pub use curl::Curl;
pub use judge::Published;
pub use stub::Stub;
pub use table::{After, Entry, entries};

use std::{future::ready, time::Duration};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::eventually;

/// Time until a client that was asked to exit has exited.
const EXIT_TIMEOUT: Duration = Duration::from_secs(15);

/// A line of the contract in `tests/clients/README.md`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged, deny_unknown_fields)]
pub enum Line {
    /// An event, as the client delivers it.
    Event(Delivered),
    /// The stream opened, first or again.
    Open {
        /// Always true.
        open: bool,
    },
    /// What the client reports.
    Error {
        /// In its words.
        error: String,
    },
    /// The client has given up for good.
    Closed {
        /// Always true.
        closed: bool,
    },
    /// The origin that a browser's page is of.
    Origin {
        /// `http://127.0.0.1:PORT`.
        origin: String,
    },
}

/// An event, as a client delivers it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    /// Its id; for an event without one the last id, or nothing.
    pub id: String,
    /// Its type, or `message`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its data.
    pub data: String,
}

/// A source of lines.
pub trait Source: Send {
    /// The lines since the last call.
    ///
    /// # Errors
    /// When it said something that is no line.
    fn lines(&mut self) -> Result<Vec<Line>>;

    /// Asks it to exit; returns whether it has.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn stop(&mut self) -> Result<bool> {
        Ok(true)
    }
}

impl Source for mpsc::Receiver<Line> {
    fn lines(&mut self) -> Result<Vec<Line>> {
        Ok(std::iter::from_fn(|| self.try_recv().ok()).collect())
    }
}

/// A running client and what it has received.
pub struct Client {
    /// Its description.
    pub entry: Entry,
    /// Events of publishers.
    pub events: Vec<Delivered>,
    /// Events of the broker itself.
    pub control: Vec<Delivered>,
    /// How often it reported an open stream.
    pub opens: usize,
    /// What it reported.
    pub errors: Vec<String>,
    /// Whether it has given up.
    pub closed: bool,
    source: Box<dyn Source>,
}

impl Client {
    /// A client that was just started.
    pub fn new(entry: &Entry, source: impl Source + 'static) -> Self {
        Self {
            entry: entry.clone(),
            events: Vec::new(),
            control: Vec::new(),
            opens: 0,
            errors: Vec::new(),
            closed: false,
            source: Box::new(source),
        }
    }

    /// Reads what the client has reported since.
    ///
    /// # Errors
    /// When it said something that is no line.
    pub fn poll(&mut self) -> Result<()> {
        for line in self.source.lines()? {
            match line {
                Line::Event(event) if event.event_type.starts_with("eventcast.") => {
                    self.control.push(event);
                }
                Line::Event(event) => self.events.push(event),
                Line::Open { .. } => self.opens += 1,
                Line::Error { error } => self.errors.push(error),
                Line::Closed { .. } => self.closed = true,
                Line::Origin { .. } => {}
            }
        }
        Ok(())
    }

    /// Ends it, and waits until it is gone: a browser has a profile to delete.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn end(mut self) -> Result<()> {
        eventually(&format!("{} ends", self.entry.name), EXIT_TIMEOUT, || {
            ready(self.source.stop().and_then(|gone| gone.then_some(()).context("not yet")))
        })
        .await
    }
}
