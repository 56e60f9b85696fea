//! A publisher: one kept connection. It writes whole requests and reads the answers as they come. A server may close a
//! connection on which nothing is under way; it is made anew then, as every client of HTTP does.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
};

use anyhow::{Context as _, Result, ensure};

use crate::server::text::header;

/// A connection that publishes.
pub(crate) struct Publisher {
    socket: TcpStream,
    inbox: Vec<u8>,
    /// Answers still to come.
    pub(crate) awaited: u64,
    /// Body of the last answer.
    pub(crate) body: String,
    /// Its end was read.
    pub(super) closed: bool,
}

impl Publisher {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).context("a publisher cannot connect")?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, inbox: Vec::new(), awaited: 0, body: String::new(), closed: false })
    }

    pub(super) fn fd(&self) -> impl AsFd + '_ {
        &self.socket
    }

    /// Whether the server has closed it while nothing was awaited.
    pub(super) fn is_closed(&self) -> Result<bool> {
        self.socket.set_nonblocking(true)?;
        Ok(self.closed || (self.awaited == 0 && matches!(self.socket.peek(&mut [0]), Ok(0))))
    }

    /// Writes a request, however long that takes: the server reads it whatever else it does.
    pub(super) fn send(&mut self, request: &[u8], answers: u64) -> Result<()> {
        self.socket.set_nonblocking(false)?;
        self.socket.write_all(request).context("a publish cannot be written")?;
        self.awaited += answers;
        Ok(())
    }

    /// Reads answers; says how many.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<u64> {
        self.socket.set_nonblocking(true)?;
        match self.socket.read(buffer) {
            Ok(0) => {
                ensure!(self.awaited == 0, "the server closed a connection without an answer");
                self.closed = true;
                return Ok(0);
            }
            Ok(n) => self.inbox.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error).context("a publisher's connection broke"),
        }
        let mut answers = 0;
        while self.take_answer()? {
            answers += 1;
        }
        self.awaited = self.awaited.checked_sub(answers).context("an answer to nothing")?;
        Ok(answers)
    }

    fn take_answer(&mut self) -> Result<bool> {
        let end = self.inbox.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end.map(|at| at + 4) else { return Ok(false) };
        let head = String::from_utf8_lossy(&self.inbox[..end]).into_owned();
        let length = header(&head, "content-length").context("an answer without a length")?;
        let length: usize = length.parse()?;
        if self.inbox.len() < end + length {
            return Ok(false);
        }
        let body = self.inbox[end..end + length].to_vec();
        self.inbox.drain(..end + length);
        self.body = String::from_utf8(body)?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "a publish was answered {status}: {}", self.body);
        Ok(true)
    }
}
