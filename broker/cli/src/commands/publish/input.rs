//! What is published: a file or standard input, as a whole or in lines.

use std::{path::Path, time::Duration};

use tokio::{
    fs::File,
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader, stdin},
    time::timeout,
};

use crate::{failure::Failure, ndjson::Batch};

/// The longest line, and the largest file with one event: more than any channel accepts.
const MAX_EVENT_BYTES: u64 = 64 << 20;
/// A batch is sent when the input has been silent for so long.
const IDLE: Duration = Duration::from_millis(100);

/// A file or standard input.
pub(super) struct Input {
    name: String,
    reader: Box<dyn AsyncBufRead + Send + Unpin>,
}

impl Input {
    /// Opens a file; `-` and `None` are standard input.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn open(file: Option<&Path>) -> Result<Self, Failure> {
        match file.filter(|file| *file != Path::new("-")) {
            None => {
                let reader = Box::new(BufReader::new(stdin()));
                Ok(Self { name: "standard input".into(), reader })
            }
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path).await;
                let file = file.map_err(|error| unreadable(&name, &error))?;
                Ok(Self { name, reader: Box::new(BufReader::new(file)) })
            }
        }
    }

    /// # Errors
    /// It cannot be read, or is too large.
    pub(super) async fn read_all(self) -> Result<Vec<u8>, Failure> {
        let mut data = Vec::new();
        let read = self.reader.take(MAX_EVENT_BYTES + 1).read_to_end(&mut data).await;
        read.map_err(|error| unreadable(&self.name, &error))?;
        if data.len() as u64 > MAX_EVENT_BYTES {
            let limit = MAX_EVENT_BYTES >> 20;
            return Err(Failure::failed(format!("{} has more than {limit} MiB", self.name)));
        }
        Ok(data)
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot read {name}: {error}"))
}

/// Lines of an input, in batches.
pub(super) struct Lines {
    input: Input,
    /// Whether a batch is sent before it is full when no line arrives.
    is_live: bool,
    line: Vec<u8>,
    number: u64,
    is_over: bool,
}

impl Lines {
    pub(super) fn new(input: Input, is_live: bool) -> Self {
        Self { input, is_live, line: Vec::new(), number: 0, is_over: false }
    }

    /// The next batch; `None` at the end of the input.
    ///
    /// # Errors
    /// The input cannot be read, or a line is no event.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        let mut batch = Batch::default();
        while !batch.is_full() && !self.is_over {
            if batch.is_empty() || !self.is_live {
                self.read_line().await?;
            } else {
                match timeout(IDLE, self.read_line()).await {
                    Ok(read) => read?,
                    Err(_) => break, // what was read of the line is kept
                }
            }
            if !self.line.is_empty() {
                self.number += 1;
                let line = std::mem::take(&mut self.line);
                batch.add(self.number, &line).map_err(Failure::failed)?;
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Reads on until the line at hand is complete.
    ///
    /// # Cancel safety
    /// Safe: what was read is in `line`.
    async fn read_line(&mut self) -> Result<(), Failure> {
        let left = MAX_EVENT_BYTES.saturating_sub(self.line.len() as u64);
        let mut reader = (&mut self.input.reader).take(left);
        let read = reader.read_until(b'\n', &mut self.line).await;
        read.map_err(|error| unreadable(&self.input.name, &error))?;
        if self.line.len() as u64 >= MAX_EVENT_BYTES {
            let number = self.number + 1;
            let limit = MAX_EVENT_BYTES >> 20;
            return Err(Failure::failed(format!("line {number} has more than {limit} MiB")));
        }
        self.is_over = self.line.last() != Some(&b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn lines(text: &'static str, is_live: bool) -> Lines {
        Lines::new(Input { name: "test".into(), reader: Box::new(text.as_bytes()) }, is_live)
    }

    #[tokio::test]
    async fn lines_end_with_the_input() {
        let mut input = lines("{\"data\":1}\n\n{\"data\":2}", true);
        let batch = input.next().await.unwrap().unwrap();
        assert_eq!(
            (batch.body.as_str(), batch.shown()),
            ("{\"data\":1}\n{\"data\":2}\n", "lines 1 to 3".into())
        );
        assert_eq!(input.next().await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_input_does_not_hold_back_events_and_cuts_no_line() {
        let (mut writer, reader) = tokio::io::duplex(1024);
        let reader = Box::new(BufReader::new(reader));
        let mut input = Lines::new(Input { name: "test".into(), reader }, true);
        writer.write_all(b"{\"data\":1}\n{\"da").await.unwrap();
        assert_eq!(input.next().await.unwrap().unwrap().body, "{\"data\":1}\n");
        writer.write_all(b"ta\":2}\n").await.unwrap();
        assert_eq!(input.next().await.unwrap().unwrap().body, "{\"data\":2}\n");
    }
}
