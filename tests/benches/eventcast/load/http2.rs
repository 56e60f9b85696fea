//! As much of HTTP/2 as a reader of many streams needs: requests as literals, DATA as it comes, windows so wide that they
//! are never spent (2 GB per connection, which no case moves). Answers' headers are looked at no further than `:status: 200`.

use std::io::Write as _;

use anyhow::{Result, bail, ensure};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const WIDEST: u32 = 0x7fff_ffff;
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
/// END_STREAM and END_HEADERS: the request has no body and its headers fit a frame.
const WHOLE: u8 = 0x5;
const PADDED: u8 = 8;

/// What a connection says.
pub(super) enum Said<'a> {
    /// A stream was answered 200.
    Open,
    /// Bytes of the body of the stream with this index.
    Body(usize, &'a [u8]),
    /// Something that must be answered.
    Reply(Vec<u8>),
}

/// The beginning of a connection with one stream for each target.
pub(super) fn open(targets: &[String]) -> Result<Vec<u8>> {
    let mut out = PREFACE.to_vec();
    let initial_window = [&[0, 4][..], &WIDEST.to_be_bytes()].concat();
    frame(&mut out, SETTINGS, 0, 0, &initial_window)?;
    frame(&mut out, WINDOW_UPDATE, 0, 0, &(WIDEST - 65_535).to_be_bytes())?;
    for (index, target) in targets.iter().enumerate() {
        let stream = 2 * u32::try_from(index)? + 1;
        frame(&mut out, HEADERS, WHOLE, stream, &request(target)?)?;
    }
    Ok(out)
}

/// A GET in HPACK: two entries of the static table, and two of its names with literal values.
fn request(target: &str) -> Result<Vec<u8>> {
    ensure!(target.len() < 127, "a longer target needs a longer length: {target}");
    let mut block = vec![0x82, 0x86]; // :method: GET, :scheme: http
    for (name, value) in [(1, "bench"), (4, target)] {
        block.extend([name, u8::try_from(value.len())?]); // :authority, :path
        block.extend(value.as_bytes());
    }
    Ok(block)
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
    let length = u32::try_from(payload.len())?.to_be_bytes();
    out.write_all(&length[1..])?;
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    Ok(())
}

/// The frames of one connection, in whatever pieces they come.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Head of a frame, and the payload of one that is not DATA.
    held: Vec<u8>,
    /// What is left of a DATA frame, and of which stream it is.
    data: (usize, usize),
}

impl Frames {
    /// Takes in what came.
    ///
    /// # Errors
    /// When the server refuses a stream or ends one.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut say: impl FnMut(Said<'_>) -> Result<()>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if self.data.0 > 0 {
                let (now, rest) = bytes.split_at(self.data.0.min(bytes.len()));
                say(Said::Body(self.data.1, now))?;
                self.data.0 -= now.len();
                bytes = rest;
                continue;
            }
            let wanted = self.wanted();
            let (now, rest) = bytes.split_at((wanted - self.held.len()).min(bytes.len()));
            self.held.extend_from_slice(now);
            bytes = rest;
            if self.held.len() == HEAD && self.held[3] == DATA {
                ensure!(self.held[4] & PADDED == 0, "padding is not expected");
                ensure!(self.held[4] & ACK == 0, "the server ended stream {}", self.stream());
                self.data = (self.length(), usize::try_from(self.stream() / 2)?);
                self.held.clear();
            } else if self.held.len() == self.wanted() && self.held.len() >= HEAD {
                self.control(&mut say)?;
                self.held.clear();
            }
        }
        Ok(())
    }

    /// How long the frame at hand is, as far as that is known.
    fn wanted(&self) -> usize {
        match self.held.len() {
            HEAD.. => HEAD + self.length(),
            _ => HEAD,
        }
    }

    fn length(&self) -> usize {
        self.held[..3].iter().fold(0, |length, byte| (length << 8) | usize::from(*byte))
    }

    fn stream(&self) -> u32 {
        self.held[5..HEAD].iter().fold(0, |stream, byte| (stream << 8) | u32::from(*byte)) & WIDEST
    }

    fn control(&self, say: &mut impl FnMut(Said<'_>) -> Result<()>) -> Result<()> {
        let (kind, flags, payload) = (self.held[3], self.held[4], &self.held[HEAD..]);
        match kind {
            HEADERS => {
                // the server may first change the size of a table that nobody here reads
                let status = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                ensure!(status == Some(&0x88), "stream {} was not answered 200", self.stream());
                say(Said::Open)
            }
            SETTINGS | PING if flags & ACK == 0 => {
                let mut reply = Vec::new();
                let echo = if kind == PING { payload } else { &[] };
                frame(&mut reply, kind, ACK, 0, echo)?;
                say(Said::Reply(reply))
            }
            RST_STREAM | GO_AWAY => {
                bail!("the server ended a stream or the connection: {payload:?}")
            }
            _ => Ok(()),
        }
    }
}
