//! The pages that a newcomer follows on one machine: their commands run against a real `dev`, in the order of the page, and print what the page says.

use anyhow::Result;
use eventcast_tests::{
    init_tracing,
    pages::{self, Session},
};

/// Runs the blocks of a page, of which at least `commands` are commands.
async fn follow(page: &str, commands: usize) -> Result<()> {
    init_tracing();
    follow_in(Session::new()?, page, commands).await
}

async fn follow_in(mut session: Session, page: &str, commands: usize) -> Result<()> {
    let followed = pages::follow(&mut session, page, "", commands).await;
    session.end().await?;
    followed
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
async fn the_command_line() -> Result<()> {
    follow("docs/CLI.md", 6).await
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
