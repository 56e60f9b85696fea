//! Copies of a server's store: restoring an older backup is a fault like any other.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::process;

/// A copy of a stopped server's store.
#[derive(Debug)]
pub struct Snapshot(TempDir);

impl Snapshot {
    /// Copies the store at `store`; one that does not exist is an empty one.
    pub(super) fn take(store: &Path) -> Result<Self> {
        let copy = process::folder("eventcast-snapshot-")?;
        if store.exists() {
            copy_folder(store, copy.path())?;
        }
        Ok(Self(copy))
    }

    /// Whether `bytes` stand in any file of the copy.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn contains(&self, bytes: &[u8]) -> Result<bool> {
        any_file(self.0.path(), &|text| text.windows(bytes.len()).any(|w| w == bytes))
    }

    /// Replaces the store at `store` by the copy.
    pub(super) fn put(&self, store: &Path) -> Result<()> {
        remove(store)?;
        fs::create_dir_all(store)?;
        copy_folder(self.0.path(), store)
    }
}

/// Deletes a store.
pub(super) fn remove(store: &Path) -> Result<()> {
    if store.exists() {
        fs::remove_dir_all(store)
            .with_context(|| format!("failed to delete {}", store.display()))?;
    }
    Ok(())
}

fn any_file(folder: &Path, holds: &dyn Fn(&[u8]) -> bool) -> Result<bool> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() { any_file(&path, holds)? } else { holds(&fs::read(&path)?) };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("failed to read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
