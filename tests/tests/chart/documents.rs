//! The documents: links lead somewhere, every page is in the book, YAML and JSON are valid, and the fields, values, flags and tests that they name exist.

mod book;
mod commands;
mod fields;
mod http_api;
mod links;
mod yaml;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use eventcast_tests::repository;

/// A page of the documentation.
struct Page {
    /// From the root of the repository.
    path: PathBuf,
    text: String,
}

impl Page {
    /// The blocks between fences with this language (`""`: none), each with its first line's number.
    fn blocks(&self, language: &str) -> Vec<(usize, String)> {
        let mut blocks = Vec::new();
        let mut open: Option<(&str, usize, String)> = None;
        for (n, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(language), None) => open = Some((language, n + 2, String::new())),
                (Some(_), Some(_)) => {
                    let (found, first, block) = open.take().unwrap_or_default();
                    if found == language {
                        blocks.push((first, block));
                    }
                }
                (None, Some((_, _, block))) => *block += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        blocks
    }

    /// The lines outside of blocks, with their numbers.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut fenced = false;
        self.text.lines().enumerate().filter_map(move |(n, line)| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            (!fenced && !fence).then_some((n + 1, line))
        })
    }

    /// Where a line is, for messages.
    fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// All pages: those of the root, of `docs` and of the chart.
fn pages() -> Result<Vec<Page>> {
    let root = repository();
    let mut files = Vec::new();
    for folder in ["", "charts/eventcast", "tests/clients"] {
        files.extend(markdown(&root.join(folder))?);
    }
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        files.extend(markdown(&folder)?);
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // of installed packages are pages of their own
            if path.is_dir() && !name.starts_with('.') && name != "node_modules" {
                folders.push(path);
            }
        }
    }
    files.sort();
    let page = |file: PathBuf| {
        let text = fs::read_to_string(&file)?;
        Ok(Page { path: file.strip_prefix(&root)?.to_owned(), text })
    };
    files.into_iter().map(page).collect()
}

/// The pages of one folder.
fn markdown(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "md") {
            files.push(path);
        }
    }
    Ok(files)
}
