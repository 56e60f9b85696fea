//! Generated text that is kept in the repository.

use expect_test::expect_file;

use crate::repository;

/// Compares `text` with the file `path` (from the root of the repository), or writes the file where `UPDATE_EXPECT=1` is set (`make docs`).
///
/// # Panics
/// When they differ, with the difference.
pub fn golden(path: &str, text: &str) {
    expect_file![repository().join(path)].assert_eq(text);
}
