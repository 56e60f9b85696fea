//! A report for support: what the API server and the brokers say, without Secrets, credentials and events, in one zip.

mod redact;

use std::{
    fs::OpenOptions,
    io::{self, Cursor, Write as _},
    path::Path,
};

use serde_json::Value;
use zip::{ZipWriter, write::SimpleFileOptions};

/// The largest file.
const MAX_FILE_BYTES: usize = 4 << 20;
/// All files together, before they are compressed.
const MAX_BYTES: usize = 128 << 20;

/// The files of a report, in memory.
#[derive(Debug, Default)]
pub(crate) struct Report {
    files: Vec<File>,
    /// What could not be had, and why.
    pub(crate) missing: Vec<String>,
    bytes: usize,
}

#[derive(Debug)]
struct File {
    name: String,
    text: String,
}

impl Report {
    /// Adds what is not text for people, without credentials.
    pub(crate) fn add_value(&mut self, name: &str, mut value: Value) {
        redact::value(&mut value);
        let text = serde_saphyr::to_string(&value);
        match text {
            Ok(text) => self.push(name, text),
            Err(error) => self.missing.push(format!("{name}: {error}")),
        }
    }

    /// Adds text, without credentials.
    pub(crate) fn add_text(&mut self, name: &str, text: &str) {
        self.push(name, redact::text(text));
    }

    /// Adds what there is, or notes why there is nothing.
    pub(crate) fn add_result<E: std::fmt::Display>(&mut self, name: &str, value: Result<Value, E>) {
        match value {
            Ok(value) => self.add_value(name, value),
            Err(error) => self.missing.push(format!("{name}: {error}")),
        }
    }

    fn push(&mut self, name: &str, text: String) {
        let (own, all) = (text.len(), self.bytes + text.len());
        if own > MAX_FILE_BYTES || all > MAX_BYTES {
            self.missing.push(format!("{name}: {own} bytes are too many"));
            return;
        }
        self.bytes = all;
        self.files.push(File { name: name.to_owned(), text });
    }

    /// The names of the files, and their bytes.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&str, usize)> {
        self.files.iter().map(|file| (file.name.as_str(), file.text.len()))
    }

    /// Writes the report to a new file that only its owner can read.
    ///
    /// # Errors
    /// The file exists, or cannot be written.
    pub(crate) fn write(&self, folder: &str, file: &Path) -> io::Result<()> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for File { name, text } in &self.files {
            zip.start_file(format!("{folder}/{name}"), SimpleFileOptions::default())?;
            zip.write_all(text.as_bytes())?;
        }
        let bytes = zip.finish()?.into_inner();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(file)?.write_all(&bytes)
    }
}
