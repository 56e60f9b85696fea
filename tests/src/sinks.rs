//! The two sinks of a broker, shards and hyper, which have one contract: brokers with either of them, and numbered events that
//! every subscriber must receive once and in order.

use std::{
    fs,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use serde_json::json;

use crate::{http::Publish, sse::EventStream, wire::BrokerWithNats};

/// Values of `fanout.shards`: a thread of our own, and hyper alone.
pub const SHARD_COUNTS: [usize; 2] = [1, 0];

/// Events of one batch of [`BrokerWithNats::publish_numbers`].
const BATCH: u64 = 50;

impl BrokerWithNats {
    /// As [`start`](Self::start), with this number of shards.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn with_shards(
        shards: usize,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Result<Self> {
        Self::start(|config| {
            config.fanout.shards = Some(shards);
            change(config);
        })
        .await
    }

    /// Publishes `numbers` in order: each event is its number, a space and some padding.
    ///
    /// # Errors
    /// When one is not stored.
    pub async fn publish_numbers(
        &self,
        numbers: Range<u64>,
        padding: RangeInclusive<usize>,
    ) -> Result<()> {
        let line = |n: u64| {
            let padding = "x".repeat(fastrand::usize(padding.clone()));
            format!("{}\n", json!({"data": format!("{n} {padding}")}))
        };
        let mut from = numbers.start;
        while from < numbers.end {
            let to = (from + BATCH).min(numbers.end);
            let body: String = (from..to).map(line).collect();
            let batch = Publish::new(body).header("Content-Type", "application/x-ndjson");
            let answer = self.send(&batch).await?;
            ensure!(answer.status == 201, "not stored: {} {}", answer.status, answer.json);
            from = to;
        }
        Ok(())
    }

    /// Files that the broker has open.
    ///
    /// # Errors
    /// When it does not run.
    pub fn open_files(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()?))?.count())
    }
}

/// The number of an event that [`BrokerWithNats::publish_numbers`] published.
///
/// # Errors
/// When it has none.
pub fn number(data: &str) -> Result<u64> {
    let text = data.split(' ').next().unwrap_or_default();
    text.parse().with_context(|| format!("no number: {:?}", &data[..data.len().min(40)]))
}

/// Reads `numbers`, each once and in order, and nothing between them.
///
/// # Errors
/// When another event comes, or none within `within`.
pub async fn counts(stream: &mut EventStream, numbers: Range<u64>, within: Duration) -> Result<()> {
    for wanted in numbers {
        let data =
            stream.next_data(within).await.with_context(|| format!("waiting for {wanted}"))?;
        let came = number(&data.data)?;
        ensure!(came == wanted, "{came} came for {wanted}");
    }
    Ok(())
}
