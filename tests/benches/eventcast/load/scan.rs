//! Finds the numbers of events in a stream, in whatever pieces it comes. An event's data begins with `#` and eight digits,
//! and nothing else on the wire has a `#`; what fills the data is skipped unread, so that a reader costs little.

/// Digits of a number.
const DIGITS: u32 = 8;

/// Where in an event a stream stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scan {
    Seek,
    Number { left: u32, value: u32 },
    Skip(usize),
}

impl Scan {
    /// Takes in what came; `filling` is what follows a number in each event's data at least. Says every number.
    pub(super) fn feed(&mut self, mut bytes: &[u8], filling: usize, mut seen: impl FnMut(u32)) {
        loop {
            match *self {
                Self::Skip(left) if left > bytes.len() => {
                    *self = Self::Skip(left - bytes.len());
                    return;
                }
                Self::Skip(left) => {
                    bytes = &bytes[left..];
                    *self = Self::Seek;
                }
                Self::Seek => {
                    let Some(at) = bytes.iter().position(|byte| *byte == b'#') else { return };
                    bytes = &bytes[at + 1..];
                    *self = Self::Number { left: DIGITS, value: 0 };
                }
                Self::Number { left: 0, value } => {
                    seen(value);
                    *self = Self::Skip(filling);
                }
                Self::Number { left, value } => {
                    let Some((digit, rest)) = bytes.split_first() else { return };
                    bytes = rest;
                    let value = value * 10 + u32::from(digit.wrapping_sub(b'0') % 10);
                    *self = Self::Number { left: left - 1, value };
                }
            }
        }
    }
}
