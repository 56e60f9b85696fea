//! From the readings of every round to rows: medians with their spread, ratios taken within a round, targets.

use serde::{Deserialize, Serialize};

/// What one round of a case says about one figure.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Name of the case, with its size: `fanout 1000`.
    pub(crate) case: String,
    /// What was measured, and of whom: `CPU per delivery, 1 shard`.
    pub(crate) figure: String,
    pub(crate) unit: Unit,
    pub(crate) ours: f64,
    /// What it is compared with, measured in the same round.
    pub(crate) base: Option<(&'static str, f64)>,
    pub(crate) target: Option<Target>,
}

impl Reading {
    pub(crate) fn new(case: &str, figure: impl Into<String>, unit: Unit, ours: f64) -> Self {
        Self { case: case.to_owned(), figure: figure.into(), unit, ours, base: None, target: None }
    }

    /// Compares it with `value` of `name`.
    pub(crate) fn to(mut self, name: &'static str, value: f64) -> Self {
        self.base = Some((name, value));
        self
    }

    /// Sets a target.
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    PerSecond,
}

impl Unit {
    /// Rates are the better the higher they are, all else the lower it is.
    pub(crate) fn higher_is_better(self) -> bool {
        self == Self::PerSecond
    }
}

/// What a figure shall be.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    /// Times the base, at most.
    RatioAtMost(f64),
    /// Times the base, at least.
    RatioAtLeast(f64),
    /// In its own unit, at most.
    AtMost(f64),
}

/// Median, least and greatest of the rounds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
        Self {
            median: f64::midpoint(values[low], values[high]),
            min: values[0],
            max: values[values.len() - 1],
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) figure: String,
    pub(crate) unit: Unit,
    pub(crate) rounds: usize,
    pub(crate) ours: Spread,
    #[serde(default)]
    pub(crate) base: Option<Base>,
    #[serde(default)]
    pub(crate) target: Option<Target>,
    #[serde(default)]
    pub(crate) met: Option<bool>,
}

/// What a row is compared with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Base {
    pub(crate) name: String,
    pub(crate) value: Spread,
    /// Ours by the base's, of each round.
    pub(crate) ratio: Spread,
}

/// A run: the rows, and what a reader needs to judge them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    /// When, UTC.
    pub(crate) time: String,
    pub(crate) processors: usize,
    /// Version of the kernel.
    pub(crate) kernel: String,
    pub(crate) rows: Vec<Row>,
    /// Cases that could not be measured, and why.
    pub(crate) failures: Vec<String>,
    /// What was left out.
    pub(crate) notes: Vec<String>,
}

/// Gathers readings by case and figure, in the order in which they first came.
pub(crate) fn rows(readings: &[Reading]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for first in readings {
        let same = |case: &str, figure: &str| case == first.case && figure == first.figure;
        if rows.iter().any(|row| same(&row.case, &row.figure)) {
            continue;
        }
        let all: Vec<_> = readings.iter().filter(|r| same(&r.case, &r.figure)).collect();
        rows.push(row(&all));
    }
    rows
}

fn row(all: &[&Reading]) -> Row {
    let first = all[0];
    let ours = Spread::of(all.iter().map(|reading| reading.ours));
    let base = first.base.map(|(name, _)| {
        let pairs = || all.iter().filter_map(|r| Some((r.ours, r.base?.1)));
        Base {
            name: name.to_owned(),
            value: Spread::of(pairs().map(|(_, base)| base)),
            ratio: Spread::of(pairs().map(|(ours, base)| ours / base)),
        }
    });
    let ratio = base.as_ref().map_or(f64::NAN, |base| base.ratio.median);
    let met = first.target.map(|target| match target {
        Target::RatioAtMost(most) => ratio <= most,
        Target::RatioAtLeast(least) => ratio >= least,
        Target::AtMost(most) => ours.median <= most,
    });
    Row {
        case: first.case.clone(),
        figure: first.figure.clone(),
        unit: first.unit,
        rounds: all.len(),
        ours,
        base,
        target: first.target,
        met,
    }
}
