//! HTTP/2 without a socket: bytes in, requests out; responses and events in, bytes out. Pure.
//!
//! The shards serve HTTP/2 themselves, because all streams of a connection that an event reaches then leave in one write
//! (docs/adr/0020). What a client sends is decoded by the codec of the `h2` crate; its own state machine is made for one task per
//! stream. [`connection`] is the protocol, [`reader`] and [`writer`] are frames, [`head`] is requests and responses as header blocks,
//! [`body`] is a request body on its way to its handler.

pub(crate) mod body;
mod connection;
mod frame_tracker;
mod head;
mod reader;
mod receive_window;
mod send_window;
mod stream;
mod writer;

pub(crate) use connection::{Connection, Event};
pub(crate) use reader::PREFACE;
