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

/// Compares `text` with a golden file, which `make docs` writes.
#[cfg(test)]
pub(crate) fn golden(name: &str, text: &str) {
    expect_test::expect_file![format!("text/golden/{name}.txt")].assert_eq(text);
}
