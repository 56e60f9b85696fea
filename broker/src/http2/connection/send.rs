//! Writes responses, from memory or as their owner produces them, within the windows of the client.

use std::io::IoSlice;

use bytes::Bytes;
use h2::frame::Reason;
use http::{HeaderMap, StatusCode, response::Parts};

use super::{Connection, Event, MAX_UNSENT};
use crate::http2::{
    head,
    stream::Response,
    writer::{self, MAX_FRAME},
};

impl<A> Connection<A> {
    /// Writes the head of a response whose body [`write`](Self::write) and [`finish`](Self::finish) write. Returns false if the
    /// stream has ended.
    pub(crate) fn begin_response(&mut self, id: u32, parts: &Parts) -> bool {
        self.respond_head(id, parts.status, &parts.headers, false)
    }

    /// Writes a response with a body that is in memory.
    pub(crate) fn respond(&mut self, id: u32, parts: &Parts, body: Bytes) {
        if !self.respond_head(id, parts.status, &parts.headers, body.is_empty()) {
            return;
        }
        if body.is_empty() {
            return self.end(id);
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.response = Response::Body(body);
            self.with_bodies.insert(id);
        }
        self.send_bodies();
    }

    pub(super) fn respond_head(
        &mut self,
        id: u32,
        status: StatusCode,
        headers: &HeaderMap,
        ends: bool,
    ) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        stream.response = Response::Written;
        self.resets = self.resets.saturating_sub(1);
        let mut block = Vec::with_capacity(512);
        if std::mem::take(&mut self.announce_table) {
            block.push(head::NO_DYNAMIC_TABLE);
        }
        head::response(&mut block, status, headers);
        writer::headers(&mut self.out, id, &block, ends);
        true
    }

    /// Writes as much of the bodies in memory as the windows and [`MAX_UNSENT`] allow, the streams in turn.
    pub(super) fn send_bodies(&mut self) {
        let mut waiting = 0;
        while waiting < self.with_bodies.len() && self.out.len() < MAX_UNSENT {
            let Some(id) = self.with_bodies.shift_remove_index(0) else { return };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let Response::Body(body) = &mut stream.response else { continue };
            let window = stream.send_window.available().min(self.send_window.available());
            let bytes = body.len().min(window).min(MAX_FRAME);
            if bytes == 0 {
                waiting += 1;
            } else {
                let part = body.split_to(bytes);
                let last = writer::data(&mut self.out, id, &[IoSlice::new(&part)], bytes);
                self.last_data = last.map(|last| (id, last));
                stream.send_window.take(bytes);
                self.send_window.take(bytes);
                waiting = 0;
            }
            if body.is_empty() {
                self.finish(id);
            } else {
                self.with_bodies.insert(id);
            }
        }
    }

    /// Writes the beginning of `slices`, `bytes` in all, as far as the windows allow. Returns how many bytes; `None` if the stream
    /// has ended. After less than all of them, [`Event::Writable`] follows.
    pub(crate) fn write(&mut self, id: u32, slices: &[IoSlice<'_>], bytes: usize) -> Option<usize> {
        let stream = self.streams.get_mut(&id)?;
        if self.out.len() >= MAX_UNSENT {
            self.wait_for_room.insert(id);
            return Some(0);
        }
        let window = stream.send_window.available().min(self.send_window.available());
        let written = bytes.min(window);
        let last = writer::data(&mut self.out, id, slices, written);
        self.last_data = last.map(|last| (id, last)).or(self.last_data);
        stream.send_window.take(written);
        self.send_window.take(written);
        if written < bytes {
            self.wait_for_window.insert(id);
        }
        Some(written)
    }

    /// Ends a response after what was written of it.
    pub(crate) fn finish(&mut self, id: u32) {
        if !self.streams.contains_key(&id) {
            return;
        }
        match self.last_data {
            Some((stream, at)) if stream == id && writer::is_last(&self.out, at) => {
                writer::set_end_stream(&mut self.out, at);
            }
            _ => writer::end_stream(&mut self.out, id),
        }
        self.end(id);
    }

    /// A response has ended. A client that is still sending the request body is told to stop (RFC 9113, section 8.1).
    pub(super) fn end(&mut self, id: u32) {
        let Some(stream) = self.remove(id) else { return };
        if stream.body.is_some() {
            writer::reset(&mut self.out, id, Reason::NO_ERROR);
        }
        self.events.extend(stream.attachment.map(Event::Ended));
    }
}
