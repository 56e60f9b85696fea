//! A socket with TLS.
//!
//! What is written is encrypted record by record into memory of the thread. A record cannot be made a second time, so a record that
//! the socket does not take whole counts as written, and its rest is kept until the socket takes it. That is the only encrypted data
//! that a connection holds.

use std::{cell::RefCell, io::IoSlice};

use mio::net::TcpStream;

use super::socket::{self, ClientInput, WriteOutcome};
use crate::tls::{MAX_RECORD, Received, Session, TlsState};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Memory for one record, shared by all connections of a thread.
#[derive(Default)]
struct Scratch {
    plaintext: Vec<u8>,
    record: Vec<u8>,
}

/// TLS of a connection. The socket is an argument, so that connections without TLS have the same one.
pub(super) struct TlsSocket {
    session: Session,
    /// Encrypted bytes that must be written before anything else.
    unsent: Vec<u8>,
    close_notified: bool,
}

impl TlsSocket {
    pub(super) fn new(state: TlsState) -> Self {
        let TlsState { session, unsent, plaintext: _, ended: _ } = state;
        Self { session, unsent, close_notified: false }
    }

    /// Whether there are encrypted bytes to write.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Writes what is left of earlier records.
    pub(super) fn flush(&mut self, socket: &mut TcpStream) -> WriteOutcome {
        if self.unsent.is_empty() {
            return WriteOutcome::Complete;
        }
        let outcome = socket::write(socket, &[IoSlice::new(&self.unsent)], self.unsent.len());
        match outcome {
            WriteOutcome::Complete => self.unsent = Vec::new(),
            WriteOutcome::Partial(n) => drop(self.unsent.drain(..n)),
            WriteOutcome::Disconnected => {}
        }
        outcome
    }

    /// Writes `slices` of `bytes` in all, until the socket buffer is full. Nothing may be left of an earlier write.
    pub(super) fn write(
        &mut self,
        socket: &mut TcpStream,
        slices: &[IoSlice<'_>],
        bytes: usize,
    ) -> WriteOutcome {
        SCRATCH.with_borrow_mut(|Scratch { plaintext, record }| {
            let mut source = Source { slices, offset: 0 };
            let mut taken = 0;
            while taken < bytes {
                let next = source.next_record(plaintext);
                record.clear();
                if let Err(error) = self.session.seal(next, record) {
                    tracing::debug!(%error, "closing a connection that cannot encrypt");
                    return WriteOutcome::Disconnected;
                }
                taken += next.len();
                match socket::write(socket, &[IoSlice::new(record)], record.len()) {
                    WriteOutcome::Complete => {}
                    WriteOutcome::Partial(n) => {
                        self.unsent = record[n..].to_vec();
                        return WriteOutcome::Partial(taken);
                    }
                    WriteOutcome::Disconnected => return WriteOutcome::Disconnected,
                }
            }
            WriteOutcome::Complete
        })
    }

    /// Queues `close_notify`, once.
    pub(super) fn close_notify(&mut self) {
        if !std::mem::replace(&mut self.close_notified, true)
            && let Err(error) = self.session.close_notify(&mut self.unsent)
        {
            tracing::trace!(%error, "closing a connection without close_notify");
        }
    }

    /// Processes what the client sends: `on_data` gets what it decrypts to. What must be sent in return is queued.
    pub(super) fn receive(&mut self, bytes: &[u8], on_data: impl FnMut(&[u8])) -> ClientInput {
        match self.session.receive(bytes, &mut self.unsent, on_data) {
            Ok(Received::Open) => ClientInput::Acceptable,
            Ok(Received::Closed) => {
                self.close_notify();
                ClientInput::Disconnected
            }
            Err(error) => {
                tracing::debug!(%error, "closing a connection that sent invalid TLS");
                ClientInput::Disconnected
            }
        }
    }
}

/// Slices that are taken apart into records.
struct Source<'a> {
    slices: &'a [IoSlice<'a>],
    /// Bytes of the first slice that were taken.
    offset: usize,
}

impl<'a> Source<'a> {
    /// The plaintext of the next record. It is copied into `scratch` only if several slices contribute to it.
    fn next_record<'b>(&mut self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        scratch.clear();
        while let [first, rest @ ..] = self.slices {
            let slice: &'a [u8] = first;
            let left = &slice[self.offset..];
            let room = MAX_RECORD - scratch.len();
            if left.len() >= room || (rest.is_empty() && scratch.is_empty()) {
                let taken = left.len().min(room);
                self.offset += taken;
                if scratch.is_empty() {
                    return &left[..taken];
                }
                scratch.extend_from_slice(&left[..taken]);
                return scratch;
            }
            scratch.extend_from_slice(left);
            (self.slices, self.offset) = (rest, 0);
        }
        scratch
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_contain_the_slices_and_are_as_long_as_they_may(
            lengths in proptest::collection::vec(0_usize..40_000, 1..6),
        ) {
            let mut n = 0_u8;
            let parts: Vec<Vec<u8>> = lengths
                .iter()
                .map(|length| {
                    (0..*length).map(|_| { n = n.wrapping_mul(31).wrapping_add(7); n }).collect()
                })
                .collect();
            let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let all = parts.concat();
            let (mut source, mut scratch) = (Source { slices: &slices, offset: 0 }, Vec::new());
            let mut taken = 0;
            while taken < all.len() {
                let record = source.next_record(&mut scratch);
                prop_assert!(record == &all[taken..(taken + MAX_RECORD).min(all.len())]);
                taken += record.len();
            }
        }
    }
}
