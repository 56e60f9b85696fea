//! The words of the wire, shared by the broker, its tests and its fuzz targets. No clock and no I/O: time is an argument.
//!
//! - [`cursor`], [`topic`], [`source`], [`filter`]: positions in a log; names and the patterns that select them.
//! - [`grants`]: topics that a client may read, and filters narrowed to them.
//! - [`event`]: the rules of events.
//! - [`frame`]: events and control events as bytes of `text/event-stream`.
//! - [`gap`], [`closing`]: why events are missing, and why a stream ends.
//! - [`properties`]: what must hold for any input.

pub mod closing;
pub mod cursor;
pub mod event;
pub mod filter;
pub mod frame;
pub mod gap;
pub mod grants;
pub mod properties;
pub mod source;
pub mod topic;
