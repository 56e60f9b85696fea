//! Generated text that is kept in the repository: compares it with the file, or rewrites the file if `UPDATE=1` is set.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::repository;

/// Compares `text` with the file `path` (from the root of the repository), or writes the file where `UPDATE=1` is set.
///
/// # Errors
/// When they differ, with the first line that does, or when the file cannot be read or written.
pub fn golden(path: &str, text: &str) -> Result<()> {
    let file = repository().join(path);
    if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        return fs::write(&file, text).with_context(|| format!("failed to write {path}"));
    }
    let kept = fs::read_to_string(&file)
        .with_context(|| format!("failed to read {path}; UPDATE=1 writes it"))?;
    match difference(&kept, text) {
        None => Ok(()),
        Some(difference) => bail!("{path} is out of date, UPDATE=1 rewrites it\n{difference}"),
    }
}

/// The first line where two texts part, or `None` where they are equal.
fn difference(kept: &str, new: &str) -> Option<String> {
    if kept == new {
        return None;
    }
    let (mut left, mut right) = (kept.split('\n'), new.split('\n'));
    for number in 1.. {
        let (old, new) = (left.next(), right.next());
        if old != new {
            let show = |line: Option<&str>| line.map_or("(end)".to_owned(), |l| format!("{l:?}"));
            return Some(format!("line {number}: file {}, generated {}", show(old), show(new)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_differing_line_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let text = difference("a\nb\n", "a\nc\n").unwrap();
        assert!(text.starts_with("line 2") && text.contains("\"c\""), "{text}");
        assert!(difference("a\n", "a").unwrap().contains("(end)"));
    }
}
