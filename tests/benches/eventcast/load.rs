//! The load generator: one thread, one epoll, any number of readers and publishers. It shares the processors with the
//! server, so it must be cheap: big reads, nothing allocated per event, nothing parsed but event numbers.
//!
//! Whoever uses it calls [`Load::turn`], or [`Load::until`], which gives up loudly when nothing more comes.

mod http2;
mod publisher;
mod scan;
pub(crate) mod tally;
mod tls;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
};
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

pub(crate) use self::publisher::Publisher;
use self::{
    http2::{Frames, Said},
    tally::{Subscriber, Tally},
};

/// Readers that are connected at once while none of them is answered. A listener whose backlog is shorter costs them a second, when
/// the kernel tries again.
const WAVE: usize = 500;
/// Readers that share a source address, so that ports do not get scarce.
const PER_ADDRESS: usize = 2000;
/// Nothing at all comes for so long: it will not come.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Something still comes after so long, but not what is waited for.
const LIMIT: Duration = Duration::from_secs(900);
/// How long a turn is while the next event is not due.
const SHORTEST_TURN: Duration = Duration::from_micros(50);
const LONGEST_TURN: Duration = Duration::from_millis(5);
/// Tokens of publishers begin here.
const PUBLISHERS: u64 = 1 << 32;

/// Readers and publishers of one server.
pub(crate) struct Load {
    address: SocketAddr,
    /// Where subscribers connect with TLS, and how.
    tls: Option<(SocketAddr, Arc<ClientConfig>)>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    /// What follows the number in an event's data.
    filling: usize,
    connections: Vec<Connection>,
    /// Subscribers that were answered.
    pub(crate) open: usize,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) publishers: Vec<Publisher>,
    /// Answers to publishes.
    pub(crate) answers: u64,
    pub(crate) tally: Tally,
}

struct Connection {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    wire: Wire,
    /// Index of its first subscriber.
    first: usize,
}

enum Wire {
    /// The head of the answer, as far as it has come.
    Head(Vec<u8>),
    Body,
    Http2(Frames),
    /// Never read.
    Stalled,
}

impl Load {
    /// No readers yet; `size` is that of each event's data.
    pub(crate) fn new(address: SocketAddr, size: usize) -> Result<Self> {
        Ok(Self {
            address,
            tls: None,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(256),
            buffer: vec![0; 256 << 10],
            filling: size.saturating_sub(9),
            connections: Vec::new(),
            open: 0,
            subscribers: Vec::new(),
            publishers: Vec::new(),
            answers: 0,
            tally: Tally::default(),
        })
    }

    /// Subscribers connect to `address` with TLS from now on, and speak `protocol` (as ALPN names it).
    pub(crate) fn use_tls(&mut self, address: SocketAddr, protocol: &str) {
        self.tls = Some((address, tls::config(protocol)));
    }

    /// Connects subscribers, one for each request, and waits until all are answered.
    pub(crate) fn subscribe(&mut self, requests: impl Iterator<Item = Vec<u8>>) -> Result<()> {
        for request in requests {
            self.connect(&request, 1, Wire::Head(Vec::new()))?;
            if self.subscribers.len() - self.open >= WAVE {
                self.opened(WAVE / 2)?;
            }
        }
        self.opened(0)
    }

    /// Connects subscribers that share one connection of HTTP/2.
    pub(crate) fn subscribe_streams(&mut self, targets: &[String]) -> Result<()> {
        self.connect(&http2::open(targets)?, targets.len(), Wire::Http2(Frames::default()))?;
        self.opened(0)
    }

    /// Connects a subscriber that never reads.
    pub(crate) fn subscribe_stalled(&mut self, request: &[u8]) -> Result<()> {
        self.connect(request, 0, Wire::Stalled)
    }

    fn opened(&mut self, but: usize) -> Result<()> {
        self.until("every subscriber is answered", |load| load.subscribers.len() - load.open <= but)
    }

    fn connect(&mut self, request: &[u8], streams: usize, wire: Wire) -> Result<()> {
        let index = self.connections.len();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let last = u8::try_from(index / PER_ADDRESS + 1).context("too many readers")?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
        let address = self.tls.as_ref().map_or(self.address, |(address, _)| *address);
        socket.connect(&address.into()).context("a subscriber cannot connect")?;
        let mut socket: TcpStream = socket.into();
        socket.set_nodelay(true)?;
        let tls = match &self.tls {
            Some((_, config)) => Some(tls::connect(config, &mut socket, request)?),
            None => {
                socket.write_all(request)?;
                None
            }
        };
        socket.set_nonblocking(true)?;
        if !matches!(wire, Wire::Stalled) {
            let token = EventData::new_u64(index as u64);
            epoll::add(&self.epoll, &socket, token, EventFlags::IN)?;
        }
        let first = self.subscribers.len();
        self.subscribers.resize(first + streams, Subscriber::new());
        self.connections.push(Connection { socket, tls, wire, first });
        Ok(())
    }

    /// Connects publishers.
    pub(crate) fn publishers(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let publisher = self.publisher(self.publishers.len())?;
            self.publishers.push(publisher);
        }
        Ok(())
    }

    fn publisher(&self, index: usize) -> Result<Publisher> {
        let publisher = Publisher::connect(self.address)?;
        let token = EventData::new_u64(PUBLISHERS + index as u64);
        epoll::add(&self.epoll, publisher.fd(), token, EventFlags::IN)?;
        Ok(publisher)
    }

    /// Sends a request over a publisher's connection; it brings so many answers.
    pub(crate) fn send(&mut self, publisher: usize, request: &[u8], answers: u64) -> Result<()> {
        if self.publishers[publisher].is_closed()? {
            self.publishers[publisher] = self.publisher(publisher)?;
        }
        self.publishers[publisher].send(request, answers)
    }

    /// A publisher that waits for nothing.
    pub(crate) fn idle_publisher(&self) -> Option<usize> {
        self.publishers.iter().position(|publisher| publisher.awaited == 0)
    }

    /// Publishes the event `number` once it is due at `at` and a publisher is idle; until then it turns once. Returns whether it was
    /// published. Its latency counts from when it was due.
    pub(crate) fn publish_when_due(
        &mut self,
        number: u32,
        at: Instant,
        request: impl FnOnce() -> Vec<u8>,
    ) -> Result<bool> {
        let now = Instant::now();
        match self.idle_publisher() {
            Some(idle) if at <= now => {
                self.tally.sent(number, at);
                self.send(idle, &request(), 1)?;
                Ok(true)
            }
            _ => {
                let most = at.saturating_duration_since(now);
                self.turn(most.clamp(SHORTEST_TURN, LONGEST_TURN))?;
                Ok(false)
            }
        }
    }

    /// Turns until something holds.
    ///
    /// # Errors
    /// When nothing comes any more and it does not.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let begin = Instant::now();
        let mut last = begin;
        while !holds(self) {
            if self.turn(Duration::from_millis(100))? {
                last = Instant::now();
            }
            let vain = last.elapsed() > READ_TIMEOUT || last - begin > LIMIT;
            ensure!(!vain, "waited in vain until {what}: {}", self.state());
        }
        Ok(())
    }

    /// Sends a request and waits for the answer.
    pub(crate) fn send_and_wait(&mut self, request: &[u8], answers: u64) -> Result<()> {
        let wanted = self.answers + answers;
        self.send(0, request, answers)?;
        self.until("the publish is answered", |load| load.answers >= wanted)
    }

    /// What it has got so far, for failures.
    fn state(&self) -> String {
        let (all, open) = (self.subscribers.len(), self.open);
        let counts = || self.subscribers.iter().map(|subscriber| subscriber.count);
        let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        let awaited: u64 = self.publishers.iter().map(|publisher| publisher.awaited).sum();
        let behind = counts().filter(|count| *count < most).count();
        format!(
            "{open} of {all} subscribers open, each has {least} to {most} events ({behind} fewer than the most), \
             {} in all, {awaited} publishes unanswered",
            self.tally.deliveries
        )
    }

    /// Fails unless every subscriber got exactly what `due` says for its index: how many events, and the sum of their weights.
    pub(crate) fn verify(&self, due: impl Fn(usize) -> (u32, u64)) -> Result<()> {
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            let (count, sum) = due(index);
            ensure!(
                (subscriber.count, subscriber.sum) == (count, sum),
                "subscriber {index} got {} events, the last is {}; {count} were due{}",
                subscriber.count,
                subscriber.last,
                if subscriber.count == count { ", others than these" } else { "" }
            );
        }
        Ok(())
    }

    /// Waits for sockets, but no longer than `most`, and reads them. Says whether anything came.
    pub(crate) fn turn(&mut self, most: Duration) -> Result<bool> {
        let most = Timespec::try_from(most).context("too long")?;
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&most)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        let any = !events.is_empty();
        for event in events.drain(..) {
            let token = event.data.u64();
            if let Some(publisher) = token.checked_sub(PUBLISHERS) {
                let publisher = &mut self.publishers[usize::try_from(publisher)?];
                self.answers += publisher.read(&mut self.buffer)?;
                if publisher.closed {
                    epoll::delete(&self.epoll, publisher.fd())?;
                }
            } else {
                self.read(usize::try_from(token)?)?;
            }
        }
        self.events = events;
        Ok(any)
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let Self { connections, buffer, filling, subscribers, tally, open, .. } = self;
        let connection = &mut connections[index];
        let bytes = match connection.socket.read(buffer) {
            Ok(0) => bail!("the server closed the connection of subscriber {}", connection.first),
            Ok(n) => &buffer[..n],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("a subscriber's connection broke"),
        };
        let now = Instant::now();
        let decrypted;
        let bytes = match &mut connection.tls {
            Some(session) => {
                decrypted = tls::decrypt(session, bytes)?;
                &decrypted[..]
            }
            None => bytes,
        };
        let mut feed = |stream: usize, bytes: &[u8]| {
            let subscriber = &mut subscribers[connection.first + stream];
            let mut scan = subscriber.scan;
            scan.feed(bytes, *filling, |number| tally.arrived(subscriber, number, now));
            subscriber.scan = scan;
        };
        match &mut connection.wire {
            Wire::Body => feed(0, bytes),
            Wire::Head(head) => {
                head.extend_from_slice(bytes);
                let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                    return Ok(());
                };
                let status = String::from_utf8_lossy(&head[..end]);
                ensure!(status.starts_with("HTTP/1.1 200"), "a subscriber was answered {status}");
                *open += 1;
                feed(0, &head[end..]);
                connection.wire = Wire::Body;
            }
            Wire::Http2(frames) => {
                let (mut socket, session) = (&connection.socket, &mut connection.tls);
                frames.feed(bytes, |said| {
                    match said {
                        Said::Open => *open += 1,
                        Said::Body(stream, bytes) => feed(stream, bytes),
                        Said::Reply(reply) => match session {
                            Some(session) => tls::send(session, socket, &reply)?,
                            None => socket.write_all(&reply)?,
                        },
                    }
                    Ok(())
                })?;
            }
            Wire::Stalled => {}
        }
        Ok(())
    }
}
