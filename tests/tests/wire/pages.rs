//! The pages that a newcomer follows: their commands run against a real `dev`, in the order of the page, and print what the page says.
//!
//! What a page may contain:
//! - `sh`: commands for one shell; variables stay for the next block. `make run` starts `dev`, with the `ARGS` of the page. A block with `curl -N` goes on in
//!   another terminal, as its reader is told.
//! - `text`: what the commands before it print. `…` stands for any text. `text stream`: what the last `curl -N` prints next.
//! - `python` and `js`: a file, whose name is in its first line.

mod blocks;
mod session;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{init_tracing, repository};

use blocks::{Block, blocks};
use session::Session;

/// Runs the blocks of a page, of which at least `commands` are commands.
async fn follow(page: &str, commands: usize) -> Result<()> {
    init_tracing();
    follow_in(Session::new()?, page, commands).await
}

async fn follow_in(mut session: Session, page: &str, commands: usize) -> Result<()> {
    let followed = run_all(&mut session, page).await;
    session.end().await?;
    let ran = followed?;
    ensure!(ran >= commands, "only {ran} blocks of commands in {page}");
    Ok(())
}

async fn run_all(session: &mut Session, page: &str) -> Result<usize> {
    let text = std::fs::read_to_string(repository().join(page))?;
    let mut ran = 0;
    for Block { line, language, text } in blocks(&text) {
        let place = || format!("{page}:{line}\n{text}");
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
    Ok(ran)
}

#[tokio::test]
async fn the_readme() -> Result<()> {
    follow("README.md", 3).await
}

/// It leaves starting a broker to its reader.
#[tokio::test]
async fn the_http_api() -> Result<()> {
    init_tracing();
    let mut session = Session::new()?;
    session.run("make run").await?;
    follow_in(session, "docs/HTTP.md", 3).await
}

#[tokio::test]
async fn five_minutes_on_one_machine() -> Result<()> {
    follow("docs/start/one-machine.md", 6).await
}

#[tokio::test]
async fn a_channel_with_users_and_tokens() -> Result<()> {
    follow("docs/start/users-and-tokens.md", 6).await
}

#[tokio::test]
async fn publishing_from_a_web_application() -> Result<()> {
    follow("docs/recipes/web-application.md", 3).await
}

#[tokio::test]
async fn an_outbox() -> Result<()> {
    follow("docs/recipes/outbox.md", 2).await
}

#[tokio::test]
async fn publishing_to_nats() -> Result<()> {
    follow("docs/recipes/nats.md", 3).await
}

#[tokio::test]
async fn cloudevents() -> Result<()> {
    follow("docs/recipes/cloudevents.md", 3).await
}

#[tokio::test]
async fn events_for_each_user() -> Result<()> {
    follow("docs/recipes/per-user.md", 3).await
}

#[tokio::test]
async fn tokens_of_a_language_model() -> Result<()> {
    follow("docs/recipes/llm-tokens.md", 3).await
}

#[tokio::test]
async fn what_the_examples_do_by_hand() -> Result<()> {
    follow("docs/examples/README.md", 2).await
}

#[tokio::test]
async fn moving_from_mercure() -> Result<()> {
    follow("docs/migrate/mercure.md", 2).await
}

#[tokio::test]
async fn moving_from_redis() -> Result<()> {
    follow("docs/migrate/redis.md", 2).await
}
