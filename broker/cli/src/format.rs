//! The option `--output`.

use clap::ValueEnum;
use serde::Serialize;

/// How events and answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people. Control characters in data are escaped.
    Table,
    /// One JSON document; for events the same as jsonl.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    /// Columns for people. Control characters in data are escaped.
    Table,
    /// More columns.
    Wide,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// One JSON document a row.
    Jsonl,
}

impl RowFormat {
    /// `rows` in this format. `table` makes the text for people; its argument says whether it is to be wide.
    pub(crate) fn rows<T: Serialize>(
        self,
        rows: &[T],
        table: impl FnOnce(&[T], bool) -> String,
    ) -> String {
        match self {
            Self::Table => table(rows, false),
            Self::Wide => table(rows, true),
            Self::Json => json(&rows),
            Self::Yaml => serde_saphyr::to_string(&rows).unwrap_or_default(),
            Self::Jsonl => rows.iter().map(json).collect(),
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}
