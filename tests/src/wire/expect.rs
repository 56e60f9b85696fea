//! Checks of exact bytes: the first and the last bytes of every stream, and problem responses.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::RawResponse;

impl RawResponse {
    /// The first bytes of a stream, which are `retry: N`, LF, `:`, LF and nothing else. Returns N.
    ///
    /// # Errors
    /// When they are different, or do not arrive.
    pub async fn read_retry(&mut self) -> Result<u64> {
        let text = String::from_utf8(self.read_until(b"\n:\n").await?)?;
        let number = text.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\n:\n"));
        number.and_then(|number| number.parse().ok()).with_context(|| format!("begins {text:?}"))
    }

    /// Reads to the end, where `eventcast.closing` stands. Returns its reason and when to come back.
    ///
    /// # Errors
    /// When there is no such end, or it does not say the same twice.
    pub async fn read_closing(&mut self) -> Result<(String, u64)> {
        let text = String::from_utf8(self.read_to_end().await?)?;
        ensure!(text.ends_with("\n\n"), "cut: {text:?}");
        let last = text.trim_end_matches('\n').rsplit("\n\n").next().unwrap_or_default();
        let at = last.rfind("retry: ").with_context(|| format!("ends {last:?}"))?;
        let data = last.lines().find_map(|line| line.strip_prefix("data: ")).context("no data")?;
        let json: Value = serde_json::from_str(data)?;
        let (reason, ms) = (json["reason"].as_str(), json["retry_ms"].as_u64());
        let (reason, ms) = (reason.context("no reason")?, ms.context("no retry_ms")?);
        let whole = format!("retry: {ms}\nevent: eventcast.closing\ndata: {data}");
        ensure!(last[at..] == whole, "{last:?}");
        Ok((reason.to_owned(), ms))
    }

    /// The data of the next control event of this type, as JSON.
    ///
    /// # Errors
    /// When none arrives.
    pub async fn control_event(&mut self, event_type: &str) -> Result<Value> {
        let block = self.next_block_with(&format!("event: {event_type}\n")).await?;
        let data = block.lines().find_map(|line| line.strip_prefix("data: ")).context("no data")?;
        serde_json::from_str(data).with_context(|| format!("not JSON: {block:?}"))
    }

    /// The data of the next event that is no control event, if it has one line.
    ///
    /// # Errors
    /// When none arrives.
    pub async fn data(&mut self) -> Result<String> {
        loop {
            let block = self.next_block_with("data: ").await?;
            if !block.contains("event: eventcast.") {
                let data = block.lines().find_map(|line| line.strip_prefix("data: "));
                return Ok(data.unwrap_or_default().to_owned());
            }
        }
    }

    /// A refusal as HTTP.md has it: `application/problem+json` that nobody keeps. Returns its body.
    ///
    /// # Errors
    /// When it is anything else.
    pub async fn expect_problem(mut self, status: u16) -> Result<Value> {
        ensure!(self.head.status == status, "not {status}: {:?}", self.head);
        for (name, value) in [
            ("content-type", "application/problem+json"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ] {
            ensure!(self.header_values(name) == [value], "{name} of {:?}", self.head);
        }
        let body = self.json().await?;
        ensure!(body["status"] == status, "{body}");
        for key in ["type", "title", "detail"] {
            ensure!(body[key].as_str().is_some_and(|text| !text.is_empty()), "no {key}: {body}");
        }
        Ok(body)
    }
}
