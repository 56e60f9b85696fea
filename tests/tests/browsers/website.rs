//! The notice on pages of the documentation of older versions.

use anyhow::{Result, bail};
use eventcast_tests::{init_tracing, process, repository};

use super::script::Script;

#[tokio::test]
async fn pages_of_older_versions_lead_to_the_newest() -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-website-")?;
    let versions = repository().join("docs/versions.js");
    let arguments = [&*versions.to_string_lossy()];
    let mut script = Script::start("browser-chromium", "website.mjs", &arguments, folder.path())?;
    if let Some(ask) = script.next_ask().await? {
        bail!("what is {ask}?");
    }
    script.took(&[
        "a page of an older version leads to the newest",
        "a page of the newest version says nothing",
        "a book that is no version asks nobody",
    ])
}
