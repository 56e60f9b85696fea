//! How long a file may be.

use std::fs;

use anyhow::{Result, ensure};
use eventcast_tests::repository;

use super::scan::rust_files;

/// A longer file needs a reason, and a module doc that says it with these words.
const LINES: usize = 400;
const REASON: &str = "over 400 lines";

#[test]
fn a_long_file_says_why_it_is_long() -> Result<()> {
    let mut long = Vec::new();
    for folder in ["broker", "operator", "crds", "tests"] {
        for file in rust_files(&repository().join(folder))? {
            let text = fs::read_to_string(&file)?;
            let lines = text.lines().count();
            let says_why =
                text.lines().any(|line| line.starts_with("//!") && line.contains(REASON));
            if lines > LINES && !says_why {
                long.push(format!("{} has {lines} lines", file.display()));
            }
        }
    }
    ensure!(
        long.is_empty(),
        "split it, or write into its module doc why it is {REASON}:\n{}",
        long.join("\n")
    );
    Ok(())
}
