//! Watches small files that Kubernetes replaces while the process runs: keys and certificates.
//!
//! They are polled, for the same reason as the configuration file ([`crate::reload`]).

use std::{
    collections::BTreeMap,
    fs::Metadata,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

/// How often the files are read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Seconds after which another change of a file certainly has a different timestamp.
const SETTLED_SECONDS: i64 = 2;
/// Bytes that a file may have.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The content of a file, or why it cannot be read.
pub(crate) type Content = Result<Vec<u8>, io::ErrorKind>;

/// Some files and their contents when they were last read.
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

/// Reads a file once.
pub(crate) fn read(path: &Path) -> Content {
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

/// The files of a folder and when they last changed. Hidden files, with which the kubelet replaces all others at once, are left out.
pub(crate) struct WatchedFolder {
    path: PathBuf,
    /// The most files that are read; of more, the first by name.
    limit: usize,
    /// Names and stamps at the last check: the files are read again only if these differ.
    seen: Option<Listing>,
}

type Listing = Result<BTreeMap<String, Stamp>, io::ErrorKind>;

/// Identifies a file and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    /// When content or metadata changed, in seconds and nanoseconds.
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self { inode: meta.ino(), size: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }

    /// Whether another change of the file would certainly get a different stamp. `now` is in seconds since 1970.
    pub(crate) fn is_settled(&self, now: i64) -> bool {
        now - self.changed.0 > SETTLED_SECONDS
    }
}

impl WatchedFolder {
    pub(crate) fn new(path: PathBuf, limit: usize) -> Self {
        Self { path, limit, seen: None }
    }

    /// Reads all files.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn read(&mut self) -> Result<BTreeMap<String, Content>, io::ErrorKind> {
        let listing = self.list();
        let names = listing.as_ref().map(|files| files.keys()).map_err(|kind| *kind)?;
        let files = names.map(|name| (name.clone(), read(&self.path.join(name)))).collect();
        self.seen = Some(listing);
        Ok(files)
    }

    /// Waits until a file is added, removed or changed, and returns all.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn changed(&mut self) -> Result<BTreeMap<String, Content>, io::ErrorKind> {
        let mut tick = interval(POLL_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let listing = self.list();
            if self.seen.as_ref() != Some(&listing) {
                self.seen = Some(listing);
                return self.read();
            }
        }
    }

    fn list(&self) -> Listing {
        let list = || {
            let mut files = BTreeMap::new();
            for entry in std::fs::read_dir(&self.path)? {
                let Ok(name) = entry?.file_name().into_string() else { continue };
                if name.starts_with('.') {
                    continue;
                }
                // Entries of a Secret are symbolic links.
                let Ok(meta) = std::fs::metadata(self.path.join(&name)) else { continue };
                if meta.is_file() {
                    files.insert(name, Stamp::of(&meta));
                }
            }
            while files.len() > self.limit {
                files.pop_last();
            }
            Ok::<_, io::Error>(files)
        };
        list().map_err(|error| error.kind())
    }
}
