//! Handles the frames that a client sends: requests, their bodies, and frames about the connection.

use h2::{
    frame::{self, Frame, Reason},
    proto,
};
use http::{HeaderMap, StatusCode};

use super::{Connection, ConnectionError, Event, Leaving, MAX_STREAMS};
use crate::http2::{
    body::{self, Body, BodySender},
    head,
    reader::Received,
    receive_window::ReceiveWindow,
    send_window::{Overflow, SendWindow},
    stream::{Response, Stream},
    writer,
};

/// How many more requests a client may reset than are answered: protects against "rapid reset" (CVE-2023-44487).
pub(super) const MAX_RESETS: u32 = 200;
/// How far the window of the connection must be open before the streams that wait for it try again. Otherwise a client could make hundreds
/// of streams retry for every byte of window that it grants.
const MIN_OPENED: usize = 4 << 10;
/// Empty DATA frames in a row.
const MAX_EMPTY_FRAMES: u32 = 100;

impl<A> Connection<A> {
    /// Processes bytes that the client has sent.
    ///
    /// # Errors
    /// The client has violated the protocol. The frame that says so is in [`unsent`](Self::unsent).
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.process(bytes).map_err(|reason| {
            writer::go_away(&mut self.out, self.last_stream, reason);
            ConnectionError(reason)
        })
    }

    fn process(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        if !self.reader.receive(bytes) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        while let Some(received) = self.reader.next() {
            match received {
                Ok(received) => self.on_frame(received)?,
                Err(proto::Error::Reset(stream, reason, _)) => {
                    let id = u32::from(stream);
                    self.last_stream = self.last_stream.max(id);
                    self.reset(id, reason);
                }
                Err(proto::Error::GoAway(_, reason, _)) => return Err(reason),
                Err(proto::Error::Io(..)) => return Err(Reason::FRAME_SIZE_ERROR),
            }
        }
        Ok(())
    }

    fn on_frame(&mut self, Received { frame, flow_bytes }: Received) -> Result<(), Reason> {
        if !std::mem::replace(&mut self.is_greeted, true) && !matches!(frame, Frame::Settings(_)) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        match frame {
            Frame::Headers(headers) => self.on_headers(headers),
            Frame::Data(data) => self.on_data(&data, flow_bytes),
            Frame::Settings(settings) => self.on_settings(&settings),
            Frame::WindowUpdate(update) => {
                self.on_window_update(update.stream_id().into(), update.size_increment())
            }
            Frame::Reset(reset) => self.on_reset(reset.stream_id().into()),
            Frame::Ping(ping) if ping.is_ack() => {
                if self.leaving == Leaving::Announced {
                    self.end_requests();
                }
                Ok(())
            }
            Frame::Ping(ping) => {
                writer::ping(&mut self.out, *ping.payload(), true);
                Ok(())
            }
            Frame::GoAway(_) | Frame::Priority(_) => Ok(()),
            Frame::PushPromise(_) => Err(Reason::PROTOCOL_ERROR),
        }
    }

    fn on_headers(&mut self, headers: frame::Headers) -> Result<(), Reason> {
        let id = u32::from(headers.stream_id());
        let ends = headers.is_end_stream();
        if let Some(stream) = self.streams.get_mut(&id) {
            // Trailers, which are ignored.
            if stream.body.is_none() {
                return Err(Reason::STREAM_CLOSED);
            }
            if ends {
                self.end_body(id);
            } else {
                self.reset(id, Reason::PROTOCOL_ERROR);
            }
            return Ok(());
        }
        if id.is_multiple_of(2) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if id <= self.last_stream || self.leaving == Leaving::Final {
            return Ok(()); // of a stream that we have reset, or that the client knows we do not serve
        }
        self.last_stream = id;
        if headers.is_over_size() {
            self.insert(id, None, None);
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            self.respond_head(id, status, &HeaderMap::new(), true);
            self.end(id);
            return Ok(());
        }
        if self.streams.len() >= MAX_STREAMS as usize {
            writer::reset(&mut self.out, id, Reason::REFUSED_STREAM);
            return Ok(());
        }
        let (pseudo, fields) = headers.into_parts();
        let Ok((request, length)) = head::request(pseudo, fields, ends) else {
            writer::reset(&mut self.out, id, Reason::PROTOCOL_ERROR);
            return Ok(());
        };
        let body = if ends {
            self.insert(id, None, None);
            Body::empty()
        } else {
            let (sender, body) = body::channel(length, self.waker.clone());
            self.insert(id, Some(sender), length);
            body
        };
        self.events.push(Event::Request(id, Box::new(request.map(|()| body))));
        Ok(())
    }

    fn insert(&mut self, id: u32, body: Option<BodySender>, length: Option<u64>) {
        let stream = Stream {
            attachment: None,
            send_window: self.initial_send_window,
            receive_window: ReceiveWindow::new(),
            body,
            body_left: length,
            response: Response::Awaited,
        };
        self.streams.insert(id, stream);
    }

    fn on_data(&mut self, data: &frame::Data, flow_bytes: u32) -> Result<(), Reason> {
        let id = u32::from(data.stream_id());
        if !self.receive_window.receive(flow_bytes) {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        if data.payload().is_empty() && !data.is_end_stream() {
            self.empty_frames += 1;
            if self.empty_frames > MAX_EMPTY_FRAMES {
                return Err(Reason::ENHANCE_YOUR_CALM);
            }
        } else {
            self.empty_frames = 0;
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            self.unless_idle(id)?;
            self.release(flow_bytes);
            return Ok(());
        };
        let Some(body) = &stream.body else {
            self.release(flow_bytes);
            self.reset(id, Reason::STREAM_CLOSED);
            return Ok(());
        };
        if !stream.receive_window.receive(flow_bytes) {
            self.release(flow_bytes);
            self.reset(id, Reason::FLOW_CONTROL_ERROR);
            return Ok(());
        }
        let payload = data.payload();
        let kept = body.push(payload);
        if !stream.take_announced(payload.len()) {
            self.reset(id, Reason::PROTOCOL_ERROR);
            return Ok(());
        }
        let padding =
            flow_bytes - u32::try_from(payload.len()).unwrap_or(flow_bytes).min(flow_bytes);
        self.release_on(id, if kept { padding } else { flow_bytes });
        if data.is_end_stream() {
            self.end_body(id);
        }
        Ok(())
    }

    /// The client has sent the whole body of a request.
    fn end_body(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.body_left.is_some_and(|left| left > 0) {
            return self.reset(id, Reason::PROTOCOL_ERROR);
        }
        if let Some(body) = stream.body.take() {
            // The window is released although the handler has not read everything yet: the stream sends no more.
            body.end();
            let held = stream.receive_window.held();
            stream.receive_window.release(held);
            self.release(held);
        }
    }

    fn on_settings(&mut self, settings: &frame::Settings) -> Result<(), Reason> {
        if settings.is_ack() {
            return Ok(());
        }
        if settings.header_table_size().is_some() {
            self.announce_table = true;
        }
        if let Some(window) = settings.initial_window_size() {
            let now = SendWindow::of(window);
            let before = std::mem::replace(&mut self.initial_send_window, now);
            for stream in self.streams.values_mut() {
                let changed = stream.send_window.change_initial(before, now);
                changed.map_err(|Overflow| Reason::FLOW_CONTROL_ERROR)?;
            }
            self.windows_opened();
        }
        writer::settings_ack(&mut self.out);
        Ok(())
    }

    fn on_window_update(&mut self, id: u32, increment: u32) -> Result<(), Reason> {
        if id == 0 {
            let opened = self.send_window.open(increment);
            opened.map_err(|Overflow| Reason::FLOW_CONTROL_ERROR)?;
            if self.send_window.available() >= MIN_OPENED {
                self.windows_opened();
            }
            return Ok(());
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return self.unless_idle(id);
        };
        if stream.send_window.open(increment) == Err(Overflow) {
            self.reset(id, Reason::FLOW_CONTROL_ERROR);
        } else if self.wait_for_window.swap_remove(&id) {
            self.events.push(Event::Writable(id));
        }
        self.send_bodies();
        Ok(())
    }

    /// An error if stream `id` was never opened (RFC 9113, section 5.1): frames of streams that have ended may still arrive, and those of
    /// streams that the client has opened although requests have ended (section 6.8).
    fn unless_idle(&self, id: u32) -> Result<(), Reason> {
        let is_unknown = id > self.last_stream && self.leaving != Leaving::Final;
        let is_idle = is_unknown || id.is_multiple_of(2);
        if is_idle { Err(Reason::PROTOCOL_ERROR) } else { Ok(()) }
    }

    fn windows_opened(&mut self) {
        let waiting = std::mem::take(&mut self.wait_for_window);
        self.events.extend(waiting.into_iter().map(Event::Writable));
        self.send_bodies();
    }

    fn on_reset(&mut self, id: u32) -> Result<(), Reason> {
        let Some(stream) = self.remove(id) else {
            return self.unless_idle(id);
        };
        if matches!(stream.response, Response::Awaited) {
            self.resets += 1;
            if self.resets > MAX_RESETS {
                return Err(Reason::ENHANCE_YOUR_CALM);
            }
        }
        self.events.extend(stream.attachment.map(Event::Ended));
        Ok(())
    }

    /// Lets the client send as much as handlers have read.
    pub(crate) fn on_body_read(&mut self) {
        let read: Vec<_> = self
            .streams
            .iter()
            .filter_map(|(id, stream)| Some((*id, stream.body.as_ref()?.take_read())))
            .filter(|(_, bytes)| *bytes > 0)
            .collect();
        read.into_iter().for_each(|(id, bytes)| self.release_on(id, bytes));
    }

    pub(super) fn release(&mut self, bytes: u32) {
        if let Some(increment) = self.receive_window.release(bytes) {
            writer::window_update(&mut self.out, 0, increment);
        }
    }

    fn release_on(&mut self, id: u32, bytes: u32) {
        self.release(bytes);
        if let Some(stream) = self.streams.get_mut(&id)
            && let Some(increment) = stream.receive_window.release(bytes)
        {
            writer::window_update(&mut self.out, id, increment);
        }
    }
}
