//! Copies of a server's store: an operator who puts an older backup back is a fault like any other.

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
