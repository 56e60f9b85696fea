//! The memory budgets of a broker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BrokerConfig;

/// Memory budgets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Memory limit of the process in bytes: budgets are then at most an eighth of it each for the tails, for publish requests and for responses, and
    /// a quarter for pages. In a pod it comes from the limit of the container, also if something else than the operator has changed that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Maximum number of events in the tail of one channel: 16 to 1,000,000.
    pub tail_events: usize,
    /// Maximum size of the tail of one channel in bytes.
    pub tail_bytes: usize,
    /// Maximum total size of the tails of all channels in bytes. Each channel gets an equal share, and at most `tailBytes`; with
    /// `channelsFolder`, each channel that is not parked. The shares change when channels are added, removed, attached or parked.
    pub all_tail_bytes: usize,
    /// Maximum total size of the cached pages of all channels in bytes.
    pub page_bytes: u64,
    /// Maximum size of the cached pages of one channel in bytes, at most `pageBytes`. Beyond it, the oldest pages of the channel are
    /// evicted.
    pub channel_page_bytes: u64,
    /// Seconds without subscribers and queries after which the log of a channel is parked: its events leave memory, and the broker asks
    /// NATS nothing about it. The next subscriber waits until it is attached again, for some milliseconds. 0: never. If not set, 300
    /// with `channelsFolder` or more than 64 channels, otherwise never.
    pub park_after_seconds: Option<u64>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            limit_bytes: None,
            tail_events: 65_536,
            tail_bytes: 64 << 20,
            all_tail_bytes: 512 << 20,
            page_bytes: 128 << 20,
            channel_page_bytes: 64 << 20,
            park_after_seconds: None,
        }
    }
}

impl Memory {
    /// Maximum size of the tail of each of `channels` channels in bytes.
    #[must_use]
    pub fn tail_share(&self, channels: usize) -> usize {
        self.tail_bytes.min(self.all_tail_bytes / channels.max(1))
    }
}

impl BrokerConfig {
    /// Reduces budgets that are larger than their share of the memory limit.
    pub(crate) fn fit_into_memory_limit(&mut self) {
        let Some(limit) = self.memory.limit_bytes else { return };
        let (eighth, quarter) = (usize::try_from(limit / 8).unwrap_or(usize::MAX), limit / 4);
        let Memory { tail_bytes, all_tail_bytes, page_bytes, channel_page_bytes, .. } =
            &mut self.memory;
        let (bodies, answers) = (&mut self.limits.body_bytes, &mut self.query.answer_bytes);
        for budget in [tail_bytes, all_tail_bytes, bodies, answers] {
            *budget = (*budget).min(eighth);
        }
        for budget in [page_bytes, channel_page_bytes] {
            *budget = (*budget).min(quarter);
        }
        let one_address = &mut self.limits.body_bytes_per_address;
        *one_address = (*one_address).min(self.limits.body_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_at_most_their_share_of_the_memory_limit() {
        let mut config = BrokerConfig::default();
        config.fit_into_memory_limit();
        assert_eq!(config, BrokerConfig::default(), "without a limit");
        config.memory.limit_bytes = Some(128 << 20);
        config.fit_into_memory_limit();
        let memory = &config.memory;
        assert_eq!((memory.tail_bytes, memory.all_tail_bytes), (16 << 20, 16 << 20));
        assert_eq!((memory.page_bytes, memory.channel_page_bytes), (32 << 20, 32 << 20));
        assert!(config.limits.body_bytes_per_address <= config.limits.body_bytes);
        assert_eq!(config.query.answer_bytes, 16 << 20);
        assert_eq!(config.problems().len(), 1, "only that there is no channel");
    }

    #[test]
    fn tails_share_the_total_and_none_exceeds_its_own_limit() {
        let memory = Memory { tail_bytes: 64, all_tail_bytes: 200, ..Memory::default() };
        let shares = [0, 1, 3, 4, 7].map(|channels| memory.tail_share(channels));
        assert_eq!(shares, [64, 64, 64, 50, 28]);
    }
}
