//! The loop of one shard: socket readiness, messages, [`deadlines`], and then the [`scheduling`] of writes and reads.

mod arrivals;
mod deadlines;
mod http2;
mod scheduling;

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use eventcast_runtime::Chain;
use eventcast_wire::closing::CloseReason;
use mio::{Events, Interest, Poll, Registry, Token, event::Event as Readiness};
use prometheus::Counter;
use slab::Slab;
use tokio::time::Instant;

use self::{
    arrivals::Arrivals,
    deadlines::{Deadline, next_deadline},
    http2::HTTP2_TOKEN,
};
use super::{
    Handoff, Key,
    busy_time::BusyTime,
    channel_fanout::{ChannelFanout, Connections},
    connection::{Registration, ShardConnection},
    http2_connection::Http2Connection,
    inbox::{INBOX, Inbox, LoadGuard, Message, Wakeup, shard_waker},
    socket::ClientInput,
    timer_wheel::TimerWheel,
    tls_socket::TlsSocket,
    transport::{Socket, Transport},
};
use crate::fanout::{Subscriber, Subscription};

/// The most sockets whose readiness one poll returns.
const READINESS_EVENTS: usize = 1024;

/// One shard.
pub(super) struct EventLoop {
    inbox: Arc<Inbox>,
    connections: Connections,
    http2: Slab<Rc<RefCell<Http2Connection>>>,
    /// HTTP/2 connections with something to write, or with events.
    touched: Rc<RefCell<Vec<Key>>>,
    /// HTTP/2 connections that may have more to read.
    readable_http2: VecDeque<Key>,
    channels: Slab<ChannelFanout>,
    /// Channels by the address of their log, which [`ChannelFanout`] keeps alive.
    channel_of_log: HashMap<usize, u32>,
    timers: TimerWheel<(Key, u32, Deadline)>,
    /// Connections that are catching up and can continue.
    catching_up: VecDeque<Key>,
    arrivals: Arrivals,
    /// Channels whose log may have advanced, or that are in a pass.
    active_channels: VecDeque<u32>,
    began: Instant,
    last_generation: u32,
}

impl EventLoop {
    pub(super) fn new(inbox: &Arc<Inbox>) -> Self {
        Self {
            inbox: Arc::clone(inbox),
            connections: Slab::new(),
            http2: Slab::new(),
            touched: Rc::default(),
            readable_http2: VecDeque::new(),
            channels: Slab::new(),
            channel_of_log: HashMap::new(),
            timers: TimerWheel::new(),
            catching_up: VecDeque::new(),
            arrivals: Arrivals::default(),
            active_channels: VecDeque::new(),
            began: Instant::now(),
            last_generation: 0,
        }
    }

    /// Runs until [`Message::Stop`].
    pub(super) fn run(mut self, poll: &mut Poll, busy_seconds: &Counter) -> io::Result<()> {
        let mut busy_time = BusyTime::begin(busy_seconds);
        let mut ready = Events::with_capacity(READINESS_EVENTS);
        let (mut messages, mut due) = (Vec::new(), Vec::new());
        loop {
            let busy = !self.catching_up.is_empty()
                || !self.active_channels.is_empty()
                || !self.readable_http2.is_empty();
            let timeout = if busy || !self.inbox.prepare_sleep() {
                Some(Duration::ZERO)
            } else {
                let now = self.now();
                let timer = self.timers.next_due(now).map(Duration::from_millis);
                timer.into_iter().chain(self.arrivals.next_due(now)).min()
            };
            busy_time.note();
            let polled = poll.poll(&mut ready, timeout);
            if timeout != Some(Duration::ZERO) {
                busy_time.skip();
            }
            match polled {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for readiness in ready.iter().filter(|e| e.token() != INBOX) {
                if readiness.token().0 & HTTP2_TOKEN != 0 {
                    self.on_http2_readiness(readiness);
                } else {
                    self.on_readiness(readiness);
                }
            }
            self.inbox.take(&mut messages);
            for message in messages.drain(..) {
                match message {
                    Message::Join(handoff, load) => self.add(*handoff, load, poll.registry()),
                    Message::JoinHttp2(handoff, load) => {
                        self.add_http2(*handoff, load, poll.registry());
                    }
                    Message::Respond(response) => self.on_response(*response),
                    Message::Wake(Wakeup::Connection(key, generation)) => {
                        self.on_connection_woken(key, generation);
                    }
                    Message::Wake(Wakeup::Channel(channel, generation)) => {
                        self.on_log_advanced(channel, generation);
                    }
                    Message::Wake(wakeup) => self.on_http2_wakeup(wakeup),
                    Message::Stop => return Ok(()),
                }
            }
            let now = self.now();
            self.timers.advance(now, |deadline| due.push(deadline));
            for (key, generation, deadline) in due.drain(..) {
                self.on_deadline(key, generation, deadline, now);
            }
            self.run_touched();
            self.run_readable();
            self.run_channels();
            self.run_catching_up();
            self.run_arrivals();
            self.run_touched();
        }
    }

    /// Milliseconds since the shard began.
    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }

    fn next_generation(&mut self) -> u32 {
        self.last_generation = self.last_generation.wrapping_add(1);
        self.last_generation
    }

    /// Adds a stream of HTTP/1.1.
    fn add(&mut self, handoff: Handoff, load: LoadGuard, registry: &Registry) {
        let Handoff { socket, tls, head, subscription, guard } = handoff;
        if tls.as_ref().is_some_and(|tls| tls.ended) {
            return; // the client has closed the connection after its request
        }
        let mut tcp = mio::net::TcpStream::from_std(socket);
        let interest = Interest::READABLE | Interest::WRITABLE;
        // Only this function adds subscribers meanwhile, so this will be the key.
        let token = Token(self.connections.vacant_key());
        if let Err(error) = registry.register(&mut tcp, token, interest) {
            tracing::warn!(error = %Chain(&error), "failed to register a socket with epoll; closing it");
            return;
        }
        let tls = tls.map(|state| Box::new(TlsSocket::new(*state)));
        let transport = Transport::Socket(Socket::new(tcp, tls, guard));
        self.add_subscriber(transport, &head, subscription, load);
    }

    /// Adds a subscriber whose stream begins with `head`. Returns its key and generation.
    fn add_subscriber(
        &mut self,
        transport: Transport,
        head: &[u8],
        subscription: Subscription,
        load: LoadGuard,
    ) -> (Key, u32) {
        let generation = self.next_generation();
        let now = self.now();
        let key = Key::try_from(self.connections.vacant_key()).unwrap_or(Key::MAX);
        let waker = shard_waker(&self.inbox, Wakeup::Connection(key, generation));
        let channel = self.channel_of(&subscription.subscriber, generation);
        let registration = Registration { channel, generation, waker };
        let connection =
            ShardConnection::new(transport, head, subscription, load, registration, now);
        let connection = Box::new(connection);
        let session = connection.subscription.admission.session();
        session.waker().register(&connection.registration.waker);
        let deadline = next_deadline(&connection, now);
        self.timers.insert(deadline, (key, generation, Deadline::Heartbeat));
        self.connections.insert(connection);
        self.schedule(key);
        (key, generation)
    }

    /// The fan-out of the subscriber's channel in this shard. The first connection of a channel creates it.
    fn channel_of(&mut self, subscriber: &Subscriber, generation: u32) -> u32 {
        let Self { channels, channel_of_log, inbox, .. } = self;
        let log = subscriber.log();
        let channel = *channel_of_log.entry(Arc::as_ptr(log).addr()).or_insert_with(|| {
            let entry = channels.vacant_entry();
            let number = u32::try_from(entry.key()).unwrap_or(u32::MAX);
            let waker = shard_waker(inbox, Wakeup::Channel(number, generation));
            let mut fanout = ChannelFanout::new(log, generation, waker);
            fanout.poll_log(&mut Slab::new(), 0);
            entry.insert(fanout);
            number
        });
        channels[channel as usize].connections += 1;
        channel
    }

    /// A connection of `channel` has ended. The last one removes the channel.
    fn release_channel(&mut self, channel: u32) {
        let fanout = &mut self.channels[channel as usize];
        fanout.connections -= 1;
        if fanout.connections == 0 {
            let fanout = self.channels.remove(channel as usize);
            self.channel_of_log.remove(&Arc::as_ptr(&fanout.log).addr());
        }
    }

    fn remove(&mut self, key: Key) {
        let Some(mut connection) = self.connections.try_remove(key as usize) else { return };
        let channel = connection.registration.channel;
        if connection.caught_up {
            self.channels[channel as usize].leave(key, &mut connection);
        }
        self.release_channel(channel);
    }

    /// Queues a connection that is catching up.
    fn schedule(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key as usize)
            && !connection.caught_up
            && connection.blocked_since.is_none()
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.catching_up.push_back(key);
        }
    }

    /// Removes a connection from its channel's index. From now on it reads the log by itself.
    fn leave_index(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        if connection.caught_up {
            self.channels[connection.registration.channel as usize].leave(key, connection);
        }
        self.schedule(key);
    }

    fn on_readiness(&mut self, ready: &Readiness) {
        let index = ready.token().0;
        let (Some(connection), Ok(key)) = (self.connections.get_mut(index), Key::try_from(index))
        else {
            return;
        };
        let Transport::Socket(socket) = &mut connection.transport else { return };
        if ready.is_readable() || ready.is_read_closed() {
            match socket.discard_input() {
                ClientInput::Acceptable => {}
                ClientInput::Disconnected => return self.remove(key),
                ClientInput::TooMuch => {
                    let session = connection.subscription.admission.session();
                    session.close(CloseReason::UnexpectedInput);
                    return self.remove(key);
                }
            }
        }
        if ready.is_error() || ready.is_write_closed() {
            return self.remove(key);
        }
        if ready.is_writable() && connection.blocked_since.take().is_some() {
            self.schedule(key);
        } else if connection.blocked_since.is_none() && connection.transport.has_unsent() {
            self.flush(key);
        }
    }

    fn on_connection_woken(&mut self, key: Key, generation: u32) {
        let Some(connection) = self.current(key, generation) else { return };
        let session = connection.subscription.admission.session();
        session.waker().register(&connection.registration.waker);
        let (has_mail, is_report_requested) = (session.has_mail(), session.is_report_requested());
        if session.close_reason().is_some() {
            self.leave_index(key);
        } else {
            if has_mail {
                self.send_mail(key);
            }
            self.schedule(key);
        }
        if is_report_requested {
            self.report_to_session(key);
        }
    }

    /// Tells the session of a connection what was sent.
    fn report_to_session(&mut self, key: Key) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(key as usize) else { return };
        if connection.caught_up {
            self.channels[connection.registration.channel as usize].settle(key, connection);
        }
        let blocked = connection.blocked_since.map(|since| now.saturating_sub(since));
        connection.subscription.report_to_session(blocked.map(Duration::from_millis));
    }

    fn on_log_advanced(&mut self, channel: u32, generation: u32) {
        if self.channels.get(channel as usize).is_some_and(|c| c.generation == generation) {
            self.activate(channel);
        }
    }

    /// Queues a channel.
    fn activate(&mut self, channel: u32) {
        if let Some(fanout) = self.channels.get_mut(channel as usize)
            && !std::mem::replace(&mut fanout.queued, true)
        {
            self.active_channels.push_back(channel);
        }
    }

    /// The connection with `key`, if it is still the one of `generation`.
    fn current(&mut self, key: Key, generation: u32) -> Option<&mut Box<ShardConnection>> {
        let connection = self.connections.get_mut(key as usize)?;
        (connection.registration.generation == generation).then_some(connection)
    }
}

/// Whole milliseconds, as the timer wheel counts.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}
