//! Requests with forged tokens at a steady rate: each with another signature, from as many addresses as it takes for none to be
//! refused for its rate alone.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use crate::server::{Server, text};

/// Below what the broker takes from an address before it refuses it unseen.
const PER_ADDRESS: u32 = 10;
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What is sent.
pub(super) struct Refusals<'a> {
    pub(super) server: &'a Server,
    /// A good token, whose signature is replaced.
    pub(super) token: &'a str,
    pub(super) per_second: u32,
    pub(super) seconds: u32,
}

impl Refusals<'_> {
    /// Sends them all; says how many were refused after they were judged.
    pub(super) fn run(&self) -> Result<u32> {
        let addresses = self.per_second / PER_ADDRESS;
        let mut connections: Vec<_> =
            (0..addresses).map(|index| self.connect(index)).collect::<Result<_>>()?;
        let begin = Instant::now();
        let rounds = PER_ADDRESS * self.seconds;
        for round in 0..rounds {
            thread::sleep((begin + self.at(round)).saturating_duration_since(Instant::now()));
            for connection in &mut connections {
                connection.write_all(&self.request()?)?;
            }
            for connection in &mut connections {
                refused(connection)?;
            }
        }
        let late = begin.elapsed().saturating_sub(self.at(rounds));
        ensure!(late < Duration::from_secs(1), "the broker is {late:?} behind");
        Ok(addresses * rounds)
    }

    /// When a round is due.
    fn at(&self, round: u32) -> Duration {
        Duration::from_secs(1) * round / PER_ADDRESS
    }

    fn connect(&self, index: u32) -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let own = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + index);
        socket.bind(&SocketAddr::from((own, 0)).into())?;
        socket.connect(&self.server.address().into()).context("cannot connect")?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(socket.into())
    }

    fn request(&self) -> Result<Vec<u8>> {
        let (signed, signature) = self.token.rsplit_once('.').context("no token")?;
        let forged: String = signature.chars().map(|_| fastrand::alphanumeric()).collect();
        let target = "/channels/default/demo/access";
        Ok(text::authorized(&text::get(target, None), &format!("{signed}.{forged}")))
    }
}

/// Reads an answer, which must be that the token is bad.
fn refused(connection: &mut TcpStream) -> Result<()> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    let head = loop {
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 4;
        }
        let read = connection.read(&mut buffer).context("no answer")?;
        ensure!(read > 0, "the broker closed the connection");
        answer.extend_from_slice(&buffer[..read]);
    };
    let text = String::from_utf8_lossy(&answer[..head]).into_owned();
    ensure!(text.starts_with("HTTP/1.1 401"), "a bad token was answered {text}");
    let length: usize = text::header(&text, "content-length").context("no length")?.parse()?;
    let mut rest = vec![0; (head + length).saturating_sub(answer.len())];
    connection.read_exact(&mut rest).context("half an answer")
}
