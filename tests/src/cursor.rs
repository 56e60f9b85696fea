//! The parts of a cursor, for checks only: clients treat cursors as opaque, and so does everything else here.

use anyhow::{Context as _, Result, ensure};

/// The parts of `<epoch>-<sequence>-<check>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Names the incarnation of the log.
    pub epoch: String,
    /// Sequence in the log; 0 stands before the first event.
    pub sequence: u64,
}

impl Cursor {
    /// Parses a cursor.
    ///
    /// # Errors
    /// When it has another form than HTTP.md promises.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!((1..=64).contains(&text.len()), "a cursor has 1 to 64 characters: {text:?}");
        ensure!(text.bytes().all(|b| b.is_ascii_graphic()), "a cursor is visible ASCII: {text:?}");
        let mut parts = text.split('-');
        let mut part = || parts.next().with_context(|| format!("too few parts: {text:?}"));
        let (epoch, sequence, _check) = (part()?, part()?, part()?);
        ensure!(parts.next().is_none(), "too many parts: {text:?}");
        let number: u64 = sequence.parse().with_context(|| format!("no sequence: {text:?}"))?;
        ensure!(number.to_string() == sequence, "sequence not canonical: {text:?}");
        Ok(Self { epoch: epoch.to_owned(), sequence: number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_apart() {
        let cursor = Cursor::parse("k7q2m8-1048576-3f9").unwrap();
        assert_eq!(cursor, Cursor { epoch: "k7q2m8".into(), sequence: 1_048_576 });
        for bad in ["", "a", "a-1", "a-x-1", "a-01-1", "a-1-2-3", "a-1-é", "a b-1-2"] {
            assert!(Cursor::parse(bad).is_err(), "{bad}");
        }
    }
}
