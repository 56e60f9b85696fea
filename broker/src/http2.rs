//! HTTP/2 without a socket: bytes in, requests out; responses and events in, bytes out. Pure.
//!
//! The shards serve HTTP/2 themselves, so that an event for many streams of a connection leaves in one write (docs/adr/0020). Only the
//! codec of the `h2` crate is used, to decode what clients send; its state machine is made for one task per stream. [`connection`] is the
//! protocol, [`reader`] and [`writer`] are frames, [`head`] is requests and responses as header blocks, [`body`] is a request body on its
//! way to its handler.

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
