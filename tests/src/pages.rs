//! Pages that a reader follows: their commands run, in the order of the page, and print what the page says.
//!
//! What a page may contain:
//! - `sh`: commands for one shell; variables stay for the next block. `make run` starts `dev`, with the `ARGS` of the page. A block with `curl -N` or
//!   `port-forward` goes on in another terminal, as its reader is told.
//! - `text`: what the commands before it print. `…` stands for any text. `text stream`: what the last `curl -N` prints next.
//! - `python` and `js`: a file, whose name is in its first line.

mod blocks;
mod session;

use anyhow::{Context as _, Result, ensure};

use crate::repository;
use blocks::{Block, blocks};

pub use session::Session;

/// Runs the blocks of a page below the heading `from`; empty: all. At least `commands` of them are commands.
///
/// # Errors
/// A command fails, or prints something else.
pub async fn follow(session: &mut Session, page: &str, from: &str, commands: usize) -> Result<()> {
    let text = std::fs::read_to_string(repository().join(page))?;
    let start = text.find(from).with_context(|| format!("{page} has no {from}"))?;
    let before = text[..start].lines().count();
    let mut ran = 0;
    for Block { line, language, text } in blocks(&text[start..]) {
        let place = || format!("{page}:{}\n{text}", before + line);
        let done = match &*language {
            "sh" => {
                ran += 1;
                session.run(&text).await
            }
            "text" => session.printed(&text),
            "text stream" => session.streamed(&text).await,
            "python" | "js" => session.write(&text),
            _ => Ok(()),
        };
        done.with_context(place)?;
    }
    ensure!(ran >= commands, "only {ran} blocks of commands in {page}");
    Ok(())
}
