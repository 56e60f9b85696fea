//! The wire format of Eventcast, shared by the broker, its tests and its fuzz targets. No clock and no I/O: time is an argument.
//!
//! - [`cursor`]: positions in a log.
//! - [`topic`], [`source`], [`filter`], [`subject`]: names, the patterns that select them, and their NATS subjects.
//! - [`grants`]: topics that a client may read, and filters narrowed to them.
//! - [`event`]: events and their rules.
//! - [`frame`]: events and control events as bytes of `text/event-stream`.
//! - [`gap`], [`closing`]: why events are missing, and why a stream ends.
//! - [`trace_context`]: the trace that an event or a request belongs to.
//! - [`proxy_advice`]: which setting of a proxy hinders streams.
//! - [`properties`]: properties that fuzz targets and tests check.

pub mod closing;
pub mod cursor;
pub mod event;
pub mod filter;
pub mod frame;
pub mod gap;
pub mod grants;
pub mod properties;
pub mod proxy_advice;
pub mod source;
pub mod subject;
pub mod topic;
pub mod trace_context;
