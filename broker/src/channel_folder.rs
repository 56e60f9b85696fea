//! The folder of channels (`channelsFolder`): reads its files, and again when they change.
//!
//! The files are polled, for the same reason as the configuration file ([`crate::reload`]). Only files whose content has changed are
//! parsed.

mod merge;

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use eventcast_crds::config::{BrokerConfig, ChannelConfig, channel_file::ChannelFile};
use sha2::{Digest as _, Sha256};
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use crate::{clock::now_seconds, watch::Stamp};
use merge::merge;

/// How often the folder is checked for changes.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How many times the files are read until none has changed meanwhile: the kubelet replaces all at once.
const MAX_READS: usize = 4;
/// Bytes that a file may have. A `ConfigMap` has at most 1 MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Problems that are logged at a time.
const MAX_LOGGED_PROBLEMS: usize = 10;
/// Files that are read, the first by name.
const MAX_FILES: usize = 1024;

/// Channels by `<namespace>/<name>`.
pub(crate) type ChannelConfigs = BTreeMap<String, Arc<ChannelConfig>>;

/// The problems of the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FolderReport {
    /// Whether the folder was read.
    pub(crate) was_read: bool,
    /// Problems of the folder and of its files.
    pub(crate) files: Vec<String>,
    /// Why the newest configuration of a channel is not used.
    pub(crate) channels: BTreeMap<String, String>,
    /// Keys that this version does not know.
    pub(crate) unknown: Vec<String>,
}

/// The folder, and the last valid content of each of its files.
pub(crate) struct ChannelFolder {
    path: PathBuf,
    knows_clients: bool,
    files: BTreeMap<String, File>,
    was_read: bool,
    /// Why the folder cannot be read.
    problem: Option<String>,
    /// Whether something has changed since the last [`changed`](Self::changed).
    is_changed: bool,
    /// The channels of the last [`merge`](Self::merge).
    served: ChannelConfigs,
}

type Hash = [u8; 32];

/// A file that was seen in the folder.
#[derive(Default)]
struct File {
    /// Its stamp when it was read, if any later change certainly has another one.
    settled: Option<Stamp>,
    /// Hash of the content that was parsed last.
    hash: Option<Hash>,
    /// Its last valid content.
    content: ChannelFile,
    /// Why the present content cannot be used.
    problem: Option<String>,
}

impl ChannelFolder {
    /// The folder of `config`, if there is one, not read yet.
    pub(crate) fn of(config: &BrokerConfig) -> Option<Self> {
        Some(Self {
            path: config.channels_folder.clone()?,
            knows_clients: config.knows_clients(),
            files: BTreeMap::new(),
            was_read: false,
            problem: None,
            is_changed: false,
            served: ChannelConfigs::new(),
        })
    }

    /// Checks the folder each second until something in it has changed.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn changed(&mut self) {
        let mut tick = interval(POLL_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.refresh().await;
            if std::mem::take(&mut self.is_changed) {
                return;
            }
        }
    }

    /// Reads the files that have changed.
    ///
    /// # Cancel safety
    /// Safe: what was read is kept.
    pub(crate) async fn refresh(&mut self) {
        let mut listed = None;
        for _ in 0..MAX_READS {
            let listing = match list(&self.path) {
                Ok(listing) => listing,
                Err(error) => {
                    let problem = Some(format!("cannot read the folder: {error}"));
                    self.is_changed |= self.problem != problem;
                    self.problem = problem;
                    return;
                }
            };
            if listed.as_ref() == Some(&listing) {
                break;
            }
            self.read_changed(&listing).await;
            listed = Some(listing);
        }
        self.is_changed |= self.problem.take().is_some() || !self.was_read;
        self.was_read = true;
    }

    async fn read_changed(&mut self, listing: &BTreeMap<String, Stamp>) {
        for (name, file) in &mut self.files {
            if !listing.contains_key(name) {
                // Read again if it comes back.
                file.settled = None;
                self.is_changed |= file.set_problem(Some("the file is missing".into()));
            }
        }
        for (name, stamp) in listing {
            if self.files.get(name).is_some_and(|file| file.settled == Some(*stamp)) {
                continue;
            }
            let read = read(&self.path.join(name));
            let hash = read.as_ref().ok().map(|text| Hash::from(Sha256::digest(text)));
            let is_same = self.files.get(name).is_some_and(|file| file.hash == hash);
            // On another thread: a megabyte of channels takes some time.
            let knows_clients = self.knows_clients;
            let parsed = match read {
                Ok(_) if is_same && hash.is_some() => None,
                Ok(text) => {
                    let parsed = spawn_blocking(move || ChannelFile::parse(&text, knows_clients));
                    Some(parsed.await.unwrap_or_else(|panic| Err(panic.to_string())))
                }
                Err(error) => Some(Err(format!("cannot be read: {error}"))),
            };
            let file = self.files.entry(name.clone()).or_default();
            let is_settled = stamp.is_settled(now_seconds());
            file.settled = (is_settled && hash.is_some()).then_some(*stamp);
            self.is_changed |= match parsed {
                // The content is what was parsed last.
                None => file.set_problem(None),
                Some(parsed) => file.update(parsed, hash),
            };
        }
    }

    /// Reads the folder and returns its problems, one message each. Unknown keys are problems here.
    pub(crate) async fn problems(&mut self, main: &[ChannelConfig]) -> Vec<String> {
        self.refresh().await;
        self.merge(main).1.lines()
    }

    /// All channels: those of the configuration file, and the valid ones of the folder. A channel whose newest configuration is invalid
    /// keeps the last valid one.
    pub(crate) fn merge(&mut self, main: &[ChannelConfig]) -> (ChannelConfigs, FolderReport) {
        let (wanted, mut report) = merge(main, &self.files, &self.served);
        report.was_read = self.was_read;
        let folder = self.problem.iter().map(|problem| format!("channelsFolder: {problem}"));
        report.files.splice(0..0, folder);
        self.served.clone_from(&wanted);
        (wanted, report)
    }
}

impl FolderReport {
    /// All problems, one message each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let unknown = self.unknown.iter().map(|key| format!("{key}: unknown key"));
        let channels =
            self.channels.iter().map(|(channel, problem)| format!("{channel}: {problem}"));
        self.files.iter().cloned().chain(unknown).chain(channels).collect()
    }
}

impl FolderReport {
    /// Logs the problems that `before` does not have, at most [`MAX_LOGGED_PROBLEMS`].
    pub(crate) fn log_new_problems(&self, before: &Self) {
        let old: HashSet<_> = before.lines().into_iter().collect();
        let news = self.lines().into_iter().filter(|line| !old.contains(line));
        let mut news = news.collect::<Vec<_>>();
        let left_out = news.len().saturating_sub(MAX_LOGGED_PROBLEMS);
        news.truncate(MAX_LOGGED_PROBLEMS);
        for (i, reason) in news.iter().enumerate() {
            let left_out = (i + 1 == news.len() && left_out > 0).then_some(left_out);
            tracing::warn!(
                reason,
                left_out,
                "invalid entry in the folder of channels; keeping the last valid configuration"
            );
        }
    }
}

impl File {
    fn set_problem(&mut self, problem: Option<String>) -> bool {
        let is_changed = self.problem != problem;
        self.problem = problem;
        is_changed
    }

    /// Takes over what was read. Returns whether that changes anything.
    fn update(&mut self, parsed: Result<ChannelFile, String>, hash: Option<Hash>) -> bool {
        match parsed {
            Ok(mut new) => {
                self.hash = hash;
                self.problem = None;
                // Unchanged channels stay the same objects: comparing and keeping them is then cheap.
                let old: BTreeMap<_, _> =
                    self.content.entries.iter().map(|e| (&e.channel, e)).collect();
                for entry in &mut new.entries {
                    let before = old.get(&entry.channel).map(|old| &old.config);
                    if let Some(before) = before.filter(|before| **before == entry.config) {
                        entry.config = before.clone();
                    }
                }
                self.content = new;
                true
            }
            Err(problem) => self.set_problem(Some(problem)),
        }
    }
}

/// The files of the folder. Hidden files, with which the kubelet replaces all others at once, are left out.
fn list(folder: &Path) -> io::Result<BTreeMap<String, Stamp>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if name.starts_with('.') || !name.ends_with(".json") {
            continue;
        }
        // Entries of a projected volume are symbolic links.
        let Ok(meta) = std::fs::metadata(folder.join(&name)) else { continue };
        if meta.is_file() {
            files.insert(name, Stamp::of(&meta));
        }
    }
    while files.len() > MAX_FILES {
        files.pop_last();
    }
    Ok(files)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
