//! A strict client for event streams: [`Parser`] follows the WHATWG rules and objects to everything that this broker must
//! never send; [`EventStream`] reads a URL with it and reconnects with its cursor.

mod open;
mod parser;
mod stream;

pub use open::{Refused, Subscribe};
pub use parser::{Item, Parser};
pub use stream::EventStream;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `event:`, or `message`.
    pub event_type: String,
    /// The `data:` lines, joined by LF.
    pub data: String,
    /// `id:` of this block; the cursor.
    pub id: Option<String>,
    /// The block as it came, without the empty line that ends it.
    pub raw: String,
}

impl Event {
    /// Whether it is a control event of the broker.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.event_type.starts_with("eventcast.")
    }

    /// The data as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.data)
            .with_context(|| format!("data is not JSON: {:?}", self.raw))
    }
}
