//! Addresses of the documentation.

/// Where the pages of this version are.
const PAGES: &str = "https://github.com/eventcast/eventcast/blob/main/docs";

/// The address of a page, such as `NATS.md#storage`.
pub(crate) fn docs_link(page: &str) -> String {
    format!("{PAGES}/{page}")
}
