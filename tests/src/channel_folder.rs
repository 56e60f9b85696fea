//! The folder of a broker's channels, written as the kubelet writes a projected volume: files are symbolic links below `..data`, which is a
//! symbolic link that is replaced.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path};

use anyhow::Result;
use eventcast_crds::config::ChannelConfig;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process;

/// A folder with files of channels.
#[derive(Debug)]
pub struct ChannelFolder {
    folder: TempDir,
    files: BTreeMap<String, String>,
    version: usize,
}

impl ChannelFolder {
    /// A folder with these channels, in 16 files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(channels: &[ChannelConfig]) -> Result<Self> {
        let folder = process::folder("eventcast-channels-")?;
        let mut this = Self { folder, files: BTreeMap::new(), version: 0 };
        this.write(channels)?;
        Ok(this)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The file that has the channel of this name.
    #[must_use]
    pub fn file_of(name: &str) -> String {
        let sum = name.bytes().fold(0_usize, |sum, byte| sum * 31 % 65_521 + usize::from(byte));
        format!("channels-{:x}.json", sum % 16)
    }

    /// Replaces all channels.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, channels: &[ChannelConfig]) -> Result<()> {
        let entries = channels.iter().map(|c| (c.name.as_str(), c.to_sparse_json()));
        self.write_raw(entries.collect())
    }

    /// As [`write`](Self::write), with entries that need not be valid.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_raw(&mut self, entries: Vec<(&str, Value)>) -> Result<()> {
        let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for shard in 0..16 {
            files.insert(format!("channels-{shard:x}.json"), Vec::new());
        }
        for (name, entry) in entries {
            files.entry(Self::file_of(name)).or_default().push(entry);
        }
        let text = |channels: Vec<Value>| json!({"channels": channels}).to_string();
        self.files = files.into_iter().map(|(name, channels)| (name, text(channels))).collect();
        self.swap()
    }

    /// Changes the text of one file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&mut self, name: &str, text: &str) -> Result<()> {
        self.write_files(BTreeMap::from([(name.into(), text.into())]))
    }

    /// Changes the texts of some files, at once.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_files(&mut self, texts: BTreeMap<String, String>) -> Result<()> {
        self.files.extend(texts);
        self.swap()
    }

    fn swap(&mut self) -> Result<()> {
        let last = self.path().join(format!("..{}", self.version));
        self.version += 1;
        let data = format!("..{}", self.version);
        fs::create_dir(self.path().join(&data))?;
        for (name, text) in &self.files {
            fs::write(self.path().join(&data).join(name), text)?;
        }
        symlink(&data, self.path().join("..data_tmp"))?;
        fs::rename(self.path().join("..data_tmp"), self.path().join("..data"))?;
        for name in self.files.keys() {
            let link = self.path().join(name);
            if link.symlink_metadata().is_err() {
                symlink(format!("..data/{name}"), link)?;
            }
        }
        if last.exists() {
            fs::remove_dir_all(last)?;
        }
        Ok(())
    }
}
