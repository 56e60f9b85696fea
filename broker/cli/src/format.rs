//! The option `--output`.

use clap::ValueEnum;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people. Control characters in data are escaped.
    Table,
    /// One JSON document; for events the same as jsonl.
    Json,
    /// One JSON document a line.
    Jsonl,
}
