//! HTTP/1.1 over a socket, byte by byte: what was sent is what the test wrote, and the socket can be cut.

use std::{io, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::timeout,
};

use super::{Version, body::Framing};
use crate::tls::Socket;

/// How long a connection waits for bytes that must arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Status line and headers of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Headers in order; names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let wanted = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.headers.iter().find(wanted).map(|(_, value)| value.as_str())
    }
}

/// A connection.
#[derive(Debug)]
pub struct Http1Connection {
    stream: Socket,
    buffer: Vec<u8>,
    framing: Framing,
}

impl Http1Connection {
    /// Connects to an address with a port, such as `127.0.0.1:8080`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn connect(address: &str) -> Result<Self> {
        Self::connect_with(address, None).await
    }

    /// Connects with a receive buffer of this many bytes: a small one makes this client visibly slow to the other side.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn connect_with(address: &str, receive_buffer: Option<u32>) -> Result<Self> {
        let address: SocketAddr = address.parse().context("not an address")?;
        let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?; // before connect: the window is announced there
        }
        let connecting = socket.connect(address);
        let stream = timeout(READ_TIMEOUT, connecting).await??;
        stream.set_nodelay(true)?;
        let handshake = timeout(READ_TIMEOUT, Socket::of(stream, Version::Http1.alpn()));
        Ok(Self::over(handshake.await.context("no handshake")??))
    }

    /// Uses a connected socket.
    #[must_use]
    pub fn over(stream: Socket) -> Self {
        Self { stream, buffer: Vec::new(), framing: Framing::Ended }
    }

    /// The socket, for what lies below HTTP.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.stream
    }

    /// Writes bytes as they stand.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let writing = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        Ok(timeout(READ_TIMEOUT, writing).await??)
    }

    /// Closes the sending half.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn finish_sending(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Reads the status line and the headers of the next answer.
    ///
    /// # Errors
    /// When they do not arrive, or are not HTTP/1.1.
    pub async fn read_head(&mut self) -> Result<Head> {
        let bytes = self.read_until(b"\r\n\r\n").await?;
        let text = String::from_utf8(bytes).context("a head that is not UTF-8")?;
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
        let status: u16 = status.with_context(|| format!("not a status line: {text:?}"))?;
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').with_context(|| format!("header {line:?}"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let head = Head { status, headers };
        self.framing = Framing::of(&head)?;
        Ok(head)
    }

    /// Reads up to and with `mark`, whatever it is part of; keeps the rest.
    ///
    /// # Errors
    /// When the connection ends before, or nothing arrives for ten seconds.
    pub async fn read_until(&mut self, mark: &[u8]) -> Result<Vec<u8>> {
        loop {
            let found = self.buffer.windows(mark.len()).position(|window| window == mark);
            if let Some(at) = found {
                return Ok(self.buffer.drain(..at + mark.len()).collect());
            }
            if timeout(READ_TIMEOUT, self.fill()).await.context("nothing came")?? == 0 {
                bail!("closed after {:?}", String::from_utf8_lossy(&self.buffer));
            }
        }
    }

    /// The next piece of the body, decoded; `None` at its end. Waits without a time limit.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// `io::Error` when the connection breaks or ends within the body; another when the chunks are wrong.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(piece) = self.framing.take(&mut self.buffer)? {
                return Ok(Some(piece));
            }
            if self.framing == Framing::Ended {
                return Ok(None);
            }
            if self.fill().await? == 0 {
                if self.framing != Framing::UntilClose {
                    bail!(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within the body"));
                }
                self.framing = Framing::Ended;
            }
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk), or when nothing arrives for ten seconds.
    pub async fn body(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) =
            timeout(READ_TIMEOUT, self.chunk()).await.context("nothing came")??
        {
            body.extend(piece);
        }
        Ok(body)
    }

    /// Whether the other side closes within ten seconds, without another byte.
    ///
    /// # Errors
    /// When it sends something or keeps the connection open.
    pub async fn closed(&mut self) -> Result<()> {
        ensure!(self.buffer.is_empty(), "unread: {:?}", String::from_utf8_lossy(&self.buffer));
        match timeout(READ_TIMEOUT, self.fill()).await.context("still open")? {
            Ok(0) | Err(_) => Ok(()),
            Ok(_) => bail!("more came: {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    /// Cuts the connection: the other side gets a reset.
    ///
    /// # Errors
    /// When the socket cannot be told so.
    pub fn cut(self) -> Result<()> {
        Ok(self.stream.tcp().set_zero_linger()?)
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }
}
