//! The applications of `docs/examples`, started as their pages say, in real browsers: what their users see, also through the disturbance
//! that each is about.

mod example;

use anyhow::{Result, bail};

use example::Example;

/// What each script goes through.
const CHAT_STEPS: [&str; 4] = [
    "a newcomer sees the last messages",
    "a message reaches its room and no other, and stays text",
    "a message that is sent twice is there once",
    "the broker is killed while one writes and the other is offline",
];
const NOTIFICATIONS_STEPS: [&str; 7] = [
    "a wrong password is refused",
    "users get what is for them and what is for everyone",
    "tabs of a user share one stream",
    "the broker is killed, and nothing is lost or repeated",
    "a logout ends the streams in all tabs",
    "a login brings what was missed",
    "no token is in an address or in storage",
];

const LLM_TOKENS_STEPS: [&str; 5] = [
    "words come as they are generated",
    "a page that is reloaded has all words again",
    "the broker is killed in the middle",
    "another window reads it later",
    "an answer is stopped, and stays so",
];
const DASHBOARD_STEPS: [&str; 5] = [
    "values appear and change",
    "a value that is published once is shown",
    "a newcomer has the newest value of each metric, also an old one",
    "tabs share one stream for each metric",
    "the broker is killed, and both go on",
];
const JOBS_STEPS: [&str; 5] = [
    "a job shows its progress and its log",
    "a second tab sees the same",
    "the broker is killed, and the job is done in both tabs",
    "a reload after the end shows all of it",
    "a worker that is killed is told of",
];
const OUTBOX_STEPS: [&str; 4] = [
    "an order is told of",
    "a relay that dies after publishing repeats nothing",
    "orders wait while the relay is dead",
    "a page that is reloaded has each order once",
];

/// An example works: the script of the same name goes through its steps in a browser.
async fn works(example: &str, browser: &str, steps: &[&str]) -> Result<()> {
    let example = Example::start(example).await?;
    let mut script = example.script(browser)?;
    if let Some(ask) = script.next_ask().await? {
        bail!("what is {ask}?");
    }
    script.took(steps)?;
    example.end().await
}

#[tokio::test]
async fn chat_has_a_history_and_resumes() -> Result<()> {
    works("chat", "browser-chromium", &CHAT_STEPS).await
}

#[tokio::test]
async fn notifications_reach_their_users_until_they_log_out() -> Result<()> {
    works("notifications", "browser-firefox", &NOTIFICATIONS_STEPS).await
}

#[tokio::test]
async fn tokens_of_a_language_model_survive_reloads() -> Result<()> {
    works("llm-tokens", "browser-chromium", &LLM_TOKENS_STEPS).await
}

#[tokio::test]
async fn a_dashboard_has_the_newest_values_at_once() -> Result<()> {
    works("dashboard", "browser-chromium", &DASHBOARD_STEPS).await
}

#[tokio::test]
async fn jobs_are_followed_in_all_tabs() -> Result<()> {
    works("jobs", "browser-chromium", &JOBS_STEPS).await
}

#[tokio::test]
async fn an_outbox_tells_of_each_order_once() -> Result<()> {
    works("outbox", "browser-chromium", &OUTBOX_STEPS).await
}
