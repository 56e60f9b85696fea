//! HTTP/2 connections in the loop: requests to handlers, answers to clients.

use std::{cell::RefCell, rc::Rc};

use eventcast_runtime::Chain;
use mio::{Interest, Registry, Token, event::Event as Readiness};
use tokio::time::Instant;

use super::{Deadline, EventLoop};
use crate::{
    fanout::shard::{
        Http2Answer, Http2Handoff, Key, Responder,
        http2_connection::{Http2Connection, ReadOutcome, StreamUse},
        http2_deadlines::Due,
        http2_response::{RequestKey, Response},
        inbox::{LoadGuard, Wakeup, shard_waker},
        socket::WriteOutcome,
        transport::{Http2Stream, Transport},
    },
    http2::Event,
};

/// The bit that distinguishes the tokens of HTTP/2 connections from those of other sockets.
pub(super) const HTTP2_TOKEN: usize = 1 << (usize::BITS - 2);

impl EventLoop {
    pub(super) fn add_http2(
        &mut self,
        handoff: Http2Handoff,
        load: LoadGuard,
        registry: &Registry,
    ) {
        let generation = self.next_generation();
        let now = self.now();
        let entry = self.http2.vacant_entry();
        let index = entry.key();
        let Ok(key) = Key::try_from(index) else { return };
        let wakers = [Wakeup::BodyRead(key, generation), Wakeup::Leave(key, generation)]
            .map(|wakeup| shard_waker(&self.inbox, wakeup));
        let touched = Rc::clone(&self.touched);
        let mut connection = Http2Connection::new(handoff, key, generation, wakers, touched, load);
        connection.deadlines.on_read(now);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(HTTP2_TOKEN | index);
        if let Err(error) = registry.register(&mut connection.socket, token, interest) {
            tracing::warn!(error = %Chain(&error), "failed to register a socket with epoll; closing it");
            return;
        }
        entry.insert(Rc::new(RefCell::new(connection)));
    }

    pub(super) fn on_http2_readiness(&mut self, ready: &Readiness) {
        let Ok(key) = Key::try_from(ready.token().0 & !HTTP2_TOKEN) else { return };
        if ready.is_error() {
            return self.remove_http2(key);
        }
        if ready.is_readable() || ready.is_read_closed() {
            self.read_http2(key);
        }
        if let Some(connection) = self.http2.get(key as usize)
            && ready.is_writable()
        {
            connection.borrow_mut().touch();
        }
    }

    fn read_http2(&mut self, key: Key) {
        let now = self.now();
        let Some(connection) = self.http2.get(key as usize) else { return };
        let outcome = connection.borrow_mut().read(now);
        match outcome {
            ReadOutcome::Drained => {}
            ReadOutcome::More => self.readable_http2.push_back(key),
            ReadOutcome::Disconnected => self.remove_http2(key),
        }
    }

    /// Continues reading from connections whose last turn ended before all was read.
    pub(super) fn run_readable(&mut self) {
        for _ in 0..self.readable_http2.len() {
            if let Some(key) = self.readable_http2.pop_front() {
                self.read_http2(key);
            }
        }
    }

    /// Processes the touched connections: writes the buffered bytes, and handles the events.
    pub(super) fn run_touched(&mut self) {
        loop {
            let touched = std::mem::take(&mut *self.touched.borrow_mut());
            if touched.is_empty() {
                return;
            }
            for key in touched {
                self.run_http2(key);
            }
        }
    }

    fn run_http2(&mut self, key: Key) {
        let Some(connection) = self.http2.get(key as usize).map(Rc::clone) else { return };
        connection.borrow_mut().untouch();
        let outcome = connection.borrow_mut().flush();
        if outcome == WriteOutcome::Disconnected {
            return self.remove_http2(key);
        }
        let events = connection.borrow_mut().take_events();
        for event in events {
            self.on_http2_event(&connection, key, event);
        }
        let mut this = connection.borrow_mut();
        if this.protocol.is_done() {
            this.close();
        }
        if outcome == WriteOutcome::Complete {
            this.close_if_written();
        }
        if this.resumes_reading() {
            self.readable_http2.push_back(key);
        }
        drop(this);
        self.arm_http2(key);
    }

    fn on_http2_event(
        &mut self,
        connection: &Rc<RefCell<Http2Connection>>,
        key: Key,
        event: Event<StreamUse>,
    ) {
        match event {
            Event::Request(stream, request) => {
                let generation = connection.borrow().generation;
                let request_key = RequestKey { connection: key, generation, stream };
                let responder = Responder::new(&self.inbox, request_key);
                let mut this = connection.borrow_mut();
                let task = this.service.call(*request, responder);
                let ended = this.protocol.attach(stream, StreamUse::Request(task));
                drop((this, ended));
            }
            Event::Ended(StreamUse::Request(_)) => {}
            Event::Ended(StreamUse::Subscriber { key, generation, .. }) => {
                if self.current(key, generation).is_some() {
                    self.remove(key);
                }
            }
            Event::Writable(stream) => {
                let mut this = connection.borrow_mut();
                let Some(StreamUse::Subscriber { key, generation, .. }) =
                    this.protocol.attachment(stream)
                else {
                    return;
                };
                let (key, generation) = (*key, *generation);
                drop(this);
                if let Some(subscriber) = self.current(key, generation) {
                    subscriber.blocked_since = None;
                    self.schedule(key);
                }
            }
        }
    }

    pub(super) fn on_response(&mut self, response: Response) {
        let Response { request, head, answer } = response;
        let RequestKey { connection, generation, stream } = request;
        let Some(connection) = self.current_http2(connection, generation) else { return };
        let mut this = connection.borrow_mut();
        match answer {
            Http2Answer::Reset => this.cancel(stream),
            Http2Answer::Body(body) => {
                if let Some(StreamUse::Request(task)) = this.protocol.attachment(stream) {
                    task.guard.answered();
                }
                this.respond(stream, &head, body);
            }
            Http2Answer::Stream(subscription) => {
                if !this.begin_response(stream, &head) {
                    return; // the client has reset it
                }
                drop(this);
                let transport = Transport::Http2(Http2Stream::new(&connection, stream));
                let load = self.inbox.load();
                let (key, generation) = self.add_subscriber(transport, &[], *subscription, load);
                let mut this = connection.borrow_mut();
                if let Some(StreamUse::Request(task)) = this.protocol.detach(stream) {
                    let _request = task.guard;
                    let subscriber = StreamUse::Subscriber { key, generation, _request };
                    this.protocol.attach(stream, subscriber);
                }
            }
        }
    }

    pub(super) fn on_http2_wakeup(&mut self, wakeup: Wakeup) {
        match wakeup {
            Wakeup::BodyRead(key, generation) => {
                if let Some(connection) = self.current_http2(key, generation) {
                    let mut this = connection.borrow_mut();
                    this.protocol.on_body_read();
                    this.touch();
                }
            }
            Wakeup::Leave(key, generation) => {
                if let Some(connection) = self.current_http2(key, generation) {
                    leave(&mut connection.borrow_mut());
                }
            }
            Wakeup::Connection(..) | Wakeup::Channel(..) => {}
        }
    }

    pub(super) fn on_http2_deadline(&mut self, key: Key, generation: u32, now: u64) {
        let Some(connection) = self.current_http2(key, generation) else { return };
        let mut this = connection.borrow_mut();
        this.deadlines.fired(now);
        let has_streams = this.protocol.has_streams();
        let Http2Connection { deadlines, guard, .. } = &mut *this;
        let due = deadlines.due(guard.connection(), has_streams, now, Instant::now());
        match due {
            Due::Nothing => {}
            Due::Ping => this.protocol.ping(),
            Due::Leave => leave(&mut this),
            Due::Close => this.close(),
            Due::Remove => {
                drop(this);
                return self.remove_http2(key);
            }
        }
        this.touch();
    }

    fn arm_http2(&mut self, key: Key) {
        let now = self.now();
        let Some(connection) = self.http2.get(key as usize) else { return };
        let mut this = connection.borrow_mut();
        let has_streams = this.protocol.has_streams();
        let Http2Connection { deadlines, guard, generation, .. } = &mut *this;
        if let Some(at) = deadlines.arm(guard.connection(), has_streams, now, Instant::now()) {
            self.timers.insert(at, (key, *generation, Deadline::Http2));
        }
    }

    fn current_http2(&self, key: Key, generation: u32) -> Option<Rc<RefCell<Http2Connection>>> {
        let connection = self.http2.get(key as usize)?;
        (connection.borrow().generation == generation).then(|| Rc::clone(connection))
    }

    fn remove_http2(&mut self, key: Key) {
        let Some(connection) = self.http2.try_remove(key as usize) else { return };
        let attachments = connection.borrow_mut().protocol.take_attachments();
        for attachment in attachments {
            if let StreamUse::Subscriber { key, generation, .. } = attachment
                && self.current(key, generation).is_some()
            {
                self.remove(key);
            }
        }
    }
}

fn leave(connection: &mut Http2Connection) {
    if connection.deadlines.leave() {
        connection.protocol.begin_shutdown();
        connection.touch();
    }
}
