//! Where the body of an answer ends, and what of it a buffer holds: the framing rules of HTTP/1.1.

use anyhow::{Context as _, Result, ensure};

use super::Head;

/// How the body at hand ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
    Ended,
}

impl Framing {
    /// What the head of an answer says.
    pub(super) fn of(head: &Head) -> Result<Self> {
        if matches!(head.status, 100..=199 | 204 | 304) {
            return Ok(Self::Ended);
        }
        let length = head.header("content-length");
        if let Some(coding) = head.header("transfer-encoding") {
            ensure!(coding.eq_ignore_ascii_case("chunked"), "transfer coding {coding:?}");
            ensure!(length.is_none(), "both a length and chunks");
            return Ok(Self::Chunked);
        }
        length.map_or(Ok(Self::UntilClose), |length| Ok(Self::Length(length.parse()?)))
    }

    /// Takes from `buffer` what it holds of the body; `None` where that is nothing yet, or the body has ended.
    pub(super) fn take(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
        match *self {
            Self::Ended => Ok(None),
            Self::UntilClose if buffer.is_empty() => Ok(None),
            Self::UntilClose => Ok(Some(std::mem::take(buffer))),
            Self::Length(left) => {
                let take = buffer.len().min(usize::try_from(left)?);
                let left = left - take as u64;
                *self = if left == 0 { Self::Ended } else { Self::Length(left) };
                Ok((take > 0).then(|| buffer.drain(..take).collect()))
            }
            Self::Chunked => self.take_chunk(buffer),
        }
    }

    /// One whole chunk, once it is there.
    fn take_chunk(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
        let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&buffer[..end])?;
        let size = usize::from_str_radix(size, 16).with_context(|| format!("size {size:?}"))?;
        let (start, stop) = (end + 2, end + 2 + size);
        if buffer.len() < stop + 2 {
            return Ok(None);
        }
        ensure!(&buffer[stop..stop + 2] == b"\r\n", "a chunk of another length than it says");
        let piece = buffer[start..stop].to_vec();
        buffer.drain(..stop + 2);
        if size == 0 {
            *self = Self::Ended;
            return Ok(None);
        }
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_end_where_their_framing_says() {
        let mut buffer = b"3\r\nabc\r\n2\r\nd".to_vec();
        let mut framing = Framing::Chunked;
        assert_eq!(framing.take(&mut buffer).unwrap().unwrap(), b"abc");
        assert_eq!(framing.take(&mut buffer).unwrap(), None);
        buffer.extend(b"e\r\n0\r\n\r\nHTTP");
        assert_eq!(framing.take(&mut buffer).unwrap().unwrap(), b"de");
        assert_eq!(framing.take(&mut buffer).unwrap(), None);
        assert_eq!((framing, buffer.as_slice()), (Framing::Ended, &b"HTTP"[..]));

        let mut framing = Framing::Length(3);
        assert_eq!(framing.take(&mut buffer).unwrap().unwrap(), b"HTT");
        assert_eq!(framing, Framing::Ended);
        assert!(Framing::Chunked.take(&mut b"2\r\nabc\r\n".to_vec()).is_err());
    }
}
