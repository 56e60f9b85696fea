//! Watches small files that Kubernetes replaces while the process runs: keys and certificates.
//!
//! They are polled, for the reason that the configuration is ([`crate::reload`]).

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

/// How often the files are read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes that a file may have.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What a file contains, or why it cannot be read.
pub(crate) type Content = Result<Vec<u8>, io::ErrorKind>;

/// Some files and what was last read of them.
pub(crate) struct WatchedFiles {
    paths: Vec<PathBuf>,
    seen: Option<Vec<Content>>,
}

impl WatchedFiles {
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, seen: None }
    }

    /// Waits until the content of a file differs from what the last call returned, and returns the contents of all files in the order
    /// of their paths. The first call returns at once.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn changed(&mut self) -> &[Content] {
        let mut tick = interval(POLL_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now: Vec<_> = self.paths.iter().map(|path| read(path)).collect();
            if self.seen.as_ref() != Some(&now) {
                return self.seen.insert(now);
            }
        }
    }
}

fn read(path: &Path) -> Content {
    let read = || {
        let mut content = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok::<_, io::Error>(content)
    };
    read().map_err(|error| error.kind())
}
