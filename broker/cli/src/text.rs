//! Answers as text. Pure: typed values in, text out, with golden files.

mod check;
mod closed;
mod connections;
mod drain;
mod grant;
mod history;
mod live;
mod log_levels;
mod measured;
mod stats;
mod status;
mod table;
mod token;
mod top;
mod units;

pub(crate) use check::check;
pub(crate) use closed::closed;
pub(crate) use connections::connections;
pub(crate) use drain::drain;
pub(crate) use grant::grant;
pub(crate) use history::history;
pub(crate) use live::{gap, live_event};
pub(crate) use log_levels::log_levels;
pub(crate) use measured::measured;
pub(crate) use stats::stats;
pub(crate) use status::{View, status};
pub(crate) use table::table;
pub(crate) use token::token;
pub(crate) use top::top;

/// Compares `text` with a golden file, or writes the file where `UPDATE=1` is set.
#[cfg(test)]
pub(crate) fn golden(name: &str, text: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/text/golden");
    let file = folder.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs: look at the change with UPDATE=1 and git diff\n{text}",
        file.display()
    );
}
