//! The floor: what fan-out costs at least on this machine. A single thread, one epoll, and one `send` of the same
//! pre-framed bytes per subscriber and event; nothing is parsed, filtered, counted or kept that this does not need.
//!
//! It runs as a child of the benchmark (`serve-floor PORT`), so that its processor time is measured apart. Its frames are as long as the broker's:
//! the chunk, the fields and a cursor of the usual length. It keeps its whole log in one piece of memory, so that a reader who comes back
//! with a cursor is written to in bulk: that is the floor of a reconnect storm.
//!
//! It trusts its only client, the load generator: requests are well-formed, bodies are of the shape that `server.rs` writes.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, EventData, EventFlags},
    fd::OwnedFd,
    io::Errno,
};

use crate::server::text::{header, query_value};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
    Cache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n";
const STORED: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
/// One write to a reader who is behind: enough that system calls do not count, small enough that all get their turn.
const BULK: usize = 256 << 10;
/// Readers who are written to in bulk at the same time. With all of them at once, the buffers of their sockets would be more than the
/// kernel has for TCP, and it is no floor that waits for memory.
const CATCHING_UP: usize = 64;
const LISTENER: u64 = u64::MAX;

/// Serves until it is killed.
pub(crate) fn serve(port: u16) -> Result<()> {
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let listener: TcpListener = socket.into();
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut floor = Floor {
        epoll,
        listener,
        peers: Vec::new(),
        subscribers: Vec::new(),
        catching_up: 0,
        behind: VecDeque::new(),
        log: Vec::new(),
        ends: Vec::new(),
        buffer: vec![0; 64 << 10],
    };
    let mut events = Vec::with_capacity(512);
    loop {
        match epoll::wait(&floor.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        for event in events.drain(..) {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == LISTENER {
                floor.accept()?;
                continue;
            }
            let at = usize::try_from(token)?;
            if flags.contains(EventFlags::OUT) {
                floor.catch_up(at)?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                floor.read(at)?;
            }
        }
    }
}

struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    /// By descriptor.
    peers: Vec<Option<Peer>>,
    /// Descriptors of those who subscribed.
    subscribers: Vec<usize>,
    /// How many are written to in bulk.
    catching_up: usize,
    /// Descriptors of those who wait for that.
    behind: VecDeque<usize>,
    /// Every frame since the start.
    log: Vec<u8>,
    /// Where each frame ends in the log.
    ends: Vec<usize>,
    buffer: Vec<u8>,
}

struct Peer {
    socket: TcpStream,
    /// What of a request has come.
    inbox: Vec<u8>,
    /// How far into the log it was written to, once it subscribed.
    position: Option<usize>,
    pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Live,
    /// Waits until others have caught up.
    Behind,
    CatchingUp,
}

impl Floor {
    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accept"),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let at = usize::try_from(socket.as_raw_fd())?;
            epoll::add(&self.epoll, &socket, EventData::new_u64(at as u64), EventFlags::IN)?;
            if self.peers.len() <= at {
                self.peers.resize_with(at + 1, || None);
            }
            self.peers[at] =
                Some(Peer { socket, inbox: Vec::new(), position: None, pace: Pace::Live });
        }
    }

    fn read(&mut self, at: usize) -> Result<()> {
        let Some(peer) = self.peers[at].as_mut() else { return Ok(()) };
        match peer.socket.read(&mut self.buffer) {
            Ok(0) | Err(_) => {
                self.subscribers.retain(|other| *other != at);
                let catching_up = peer.pace == Pace::CatchingUp;
                self.peers[at] = None; // closing takes it out of the epoll
                self.catching_up -= usize::from(catching_up);
                self.next_behind()?;
                return Ok(());
            }
            Ok(n) => peer.inbox.extend_from_slice(&self.buffer[..n]),
        }
        while let Some(request) = self.peers[at].as_mut().and_then(take_request) {
            if request.head.starts_with("GET") {
                self.subscribe(at, &request)?;
            } else {
                self.publish(at, &request)?;
            }
        }
        Ok(())
    }

    fn subscribe(&mut self, at: usize, request: &Request) -> Result<()> {
        let Some(peer) = self.peers[at].as_mut() else { return Ok(()) };
        peer.socket.write_all(HEAD)?;
        let position = match header(&request.head, "last-event-id") {
            Some(cursor) => self.ends[sequence(cursor).context("a cursor of another server")?],
            None => self.log.len(),
        };
        peer.position = Some(position);
        self.subscribers.push(at);
        if position < self.log.len() { self.falls_behind(at) } else { Ok(()) }
    }

    fn publish(&mut self, at: usize, request: &Request) -> Result<()> {
        if let Some(peer) = self.peers[at].as_mut() {
            peer.socket.write_all(STORED)?;
        }
        let kind = query_value(&request.head, "type");
        if request.head.contains("x-ndjson") {
            for line in request.body.lines() {
                let data =
                    line.split_once("\"data\":\"").and_then(|(_, rest)| rest.split_once('"'));
                self.fan_out(data.context("an envelope without data")?.0, kind)?;
            }
            return Ok(());
        }
        self.fan_out(&request.body, kind)
    }

    /// One send per subscriber, whatever else is to be sent: that is what makes it the floor of a naive design.
    fn fan_out(&mut self, data: &str, kind: Option<&str>) -> Result<()> {
        let start = self.log.len();
        append(&mut self.log, self.ends.len(), data, kind)?;
        self.ends.push(self.log.len());
        let frame = &self.log[start..];
        let mut behind = Vec::new();
        for at in &self.subscribers {
            let Some(peer) = self.peers[*at].as_mut() else { continue };
            if peer.pace != Pace::Live || peer.position != Some(start) {
                continue; // behind already: the frame reaches it in its turn
            }
            let sent = match peer.socket.write(frame) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => continue, // its close is read next
            };
            peer.position = Some(start + sent);
            if sent < frame.len() {
                behind.push(*at);
            }
        }
        behind.into_iter().try_for_each(|at| self.falls_behind(at))
    }

    fn catch_up(&mut self, at: usize) -> Result<()> {
        let Some(peer) = self.peers[at].as_mut() else { return Ok(()) };
        let (Some(position), Pace::CatchingUp) = (peer.position, peer.pace) else {
            return Ok(());
        };
        let end = self.log.len().min(position + BULK);
        if let Ok(sent) = peer.socket.write(&self.log[position..end]) {
            peer.position = Some(position + sent);
            if position + sent == self.log.len() {
                peer.pace = Pace::Live;
                self.wait_for(at, EventFlags::IN)?;
                self.catching_up -= 1;
                return self.next_behind();
            }
        }
        Ok(())
    }

    fn falls_behind(&mut self, at: usize) -> Result<()> {
        if let Some(peer) = self.peers[at].as_mut() {
            peer.pace = Pace::Behind;
            self.behind.push_back(at);
        }
        self.next_behind()
    }

    /// Begins to write to those whose turn it is.
    fn next_behind(&mut self) -> Result<()> {
        while self.catching_up < CATCHING_UP
            && let Some(at) = self.behind.pop_front()
        {
            let Some(peer) = self.peers[at].as_mut() else { continue };
            if peer.pace == Pace::Behind {
                peer.pace = Pace::CatchingUp;
                self.catching_up += 1;
                self.wait_for(at, EventFlags::IN | EventFlags::OUT)?;
            }
        }
        Ok(())
    }

    fn wait_for(&self, at: usize, flags: EventFlags) -> Result<()> {
        if let Some(peer) = &self.peers[at] {
            epoll::modify(&self.epoll, &peer.socket, EventData::new_u64(at as u64), flags)?;
        }
        Ok(())
    }
}

struct Request {
    head: String,
    body: String,
}

/// The next whole request, if there is one.
fn take_request(peer: &mut Peer) -> Option<Request> {
    let end = peer.inbox.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&peer.inbox[..end]).into_owned();
    let length: usize = header(&head, "content-length").map_or(Some(0), |v| v.parse().ok())?;
    if peer.inbox.len() < end + length {
        return None;
    }
    let body = String::from_utf8_lossy(&peer.inbox[end..end + length]).into_owned();
    peer.inbox.drain(..end + length);
    if peer.inbox.is_empty() {
        peer.inbox = Vec::new(); // a subscriber sends nothing more
    }
    Some(Request { head, body })
}

/// The frame of an event: one chunk, with a cursor as long as the broker's.
fn append(log: &mut Vec<u8>, index: usize, data: &str, kind: Option<&str>) -> Result<()> {
    let event = kind.map(|kind| format!("event: {kind}\n")).unwrap_or_default();
    let block = format!("{event}data: {data}\nid: {}\n\n", cursor(index));
    Ok(write!(log, "{:x}\r\n{block}\r\n", block.len())?)
}

/// The cursor of the event at `index`, as the broker's would look.
pub(crate) fn cursor(index: usize) -> String {
    format!("0f100r00-{}-0f1", index + 1)
}

fn sequence(cursor: &str) -> Option<usize> {
    cursor.split('-').nth(1)?.parse::<usize>().ok()?.checked_sub(1)
}
