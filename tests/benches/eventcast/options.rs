//! The command line.

use std::path::PathBuf;

use clap::Parser;
use eventcast_tests::repository;

use crate::cases::Case;

/// Measures the broker: every figure as a ratio to something measured in the same run.
///
/// Relative paths are relative to the root of the repository.
#[derive(Clone, Debug, Parser)]
#[command(name = "make bench")]
pub(crate) struct Options {
    /// What to measure; everything when nothing is named.
    #[arg(value_enum)]
    cases: Vec<Case>,
    /// How often each case is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Small sizes: whether it works, not how fast.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The storm over 100,000 events instead of 10,000: moves some 70 GB a round and server.
    #[arg(long)]
    full: bool,
    /// Clients of the storm.
    #[arg(long)]
    storm_clients: Option<u32>,
    /// Events that the clients of the storm are behind at most.
    #[arg(long)]
    storm_depth: Option<u32>,
    /// In the storm, live events go to everyone, not to the live readers alone: with 10,000 clients that is half a million
    /// deliveries a second, once they have caught up.
    #[arg(long)]
    pub(crate) storm_live_to_all: bool,
    /// Values of `fanout.shards` to compare in `fanout`; the first of them is used in the other cases, where without this option
    /// the broker decides.
    #[arg(long, value_delimiter = ',')]
    shards: Vec<usize>,
    /// Where the report is written as JSON.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Compares with an earlier report; exits 1 where a ratio has got worse by more than noise.
    #[arg(long, value_name = "OLD.json")]
    check: Option<PathBuf>,
    /// How much worse than the spread of both runs a ratio may be, as a part of it.
    #[arg(long, default_value_t = 0.1)]
    pub(crate) tolerance: f64,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub(crate) fn cases(&self) -> Vec<Case> {
        if self.cases.is_empty() { Case::all() } else { self.cases.clone() }
    }

    /// One size for `--quick`, one for all else.
    pub(crate) fn size<T>(&self, quick: T, normal: T) -> T {
        if self.quick { quick } else { normal }
    }

    pub(crate) fn storm_clients(&self) -> u32 {
        self.storm_clients.unwrap_or_else(|| self.size(500, 10_000))
    }

    pub(crate) fn storm_depth(&self) -> u32 {
        let usual = if self.full { 100_000 } else { self.size(2_000, 10_000) };
        self.storm_depth.unwrap_or(usual)
    }

    /// What `fanout` compares.
    pub(crate) fn compared_shards(&self) -> Vec<usize> {
        if self.shards.is_empty() { vec![1, 2] } else { self.shards.clone() }
    }

    /// What the other cases use.
    pub(crate) fn shards(&self) -> Option<usize> {
        self.shards.first().copied()
    }

    pub(crate) fn json(&self) -> PathBuf {
        repository().join(&self.json)
    }

    pub(crate) fn check(&self) -> Option<PathBuf> {
        self.check.as_ref().map(|old| repository().join(old))
    }
}
