//! API keys, made with the program.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::broker::Cli;

const MINT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes a key with the program, and puts its entry into `folder` as the kubelet would.
///
/// # Errors
/// When the program fails, or prints something else than it should.
pub async fn make_key(folder: &Path, id: &str, options: &[&str]) -> Result<String> {
    let arguments = [&["key", "--id", id], options].concat();
    let ended = Cli::new(&arguments).output(MINT_TIMEOUT).await?;
    ensure!(ended.status.success(), "{}", ended.stderr);
    let word = |start: &str| {
        let mut lines = ended.stdout.lines().map(str::trim);
        lines.find_map(|line| line.strip_prefix(start).map(str::to_owned))
    };
    let entry = word(&format!("{id}: ")).context("no entry")?;
    ensure!(ended.stdout.contains("kubectl patch secret"), "{}", ended.stdout);
    let new = folder.join(".new");
    fs::write(&new, &entry)?;
    fs::rename(new, folder.join(id))?;
    let key = format!("evk_{}", word("evk_").context("no key")?);
    ensure!(!entry.contains(&key[8..]), "the key itself is in the entry");
    Ok(key)
}
