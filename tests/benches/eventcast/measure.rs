//! What the kernel says of a process and of its sockets, and what becomes of many measurements.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// Page of the kernel's memory accounts.
const PAGE: u64 = 4096;
/// Buckets per power of two: latencies are exact to 3 %.
const SUB: u64 = 32;

/// Processor time of a process so far, all threads together, to the nanosecond: `stat` counts in ticks of 10 ms, which
/// is as much as some cases take. Threads that ended are not in it; the servers here keep theirs.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // a thread may end between the listing and the reading
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += text.split(' ').next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}

/// How often the threads of a process have gone to sleep so far, as each wake-up is followed by one.
pub(crate) fn sleeps(pid: u32) -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(task?.path().join("status")) else { continue };
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        total += line.context("no voluntary_ctxt_switches")?.trim().parse::<u64>()?;
    }
    Ok(total)
}

/// Resident memory of a process, in bytes.
pub(crate) fn rss(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib = line.split_whitespace().next().context("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// What the kernel holds for TCP sockets, of all processes, in bytes.
pub(crate) fn tcp_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).context("no TCP")?;
    let (_, pages) = line.rsplit_once("mem ").context("no TCP memory")?;
    Ok(pages.trim().parse::<u64>()? * PAGE)
}

/// The value below which `percent` of `values` lie. They need not be sorted.
pub(crate) fn quantile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((values.len() * percent / 100).min(last)).copied().unwrap_or(f64::NAN)
}

/// Latencies, in so few bytes that millions cost nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Counts one.
    pub(crate) fn add(&mut self, latency: Duration) {
        let index = bucket(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.total += 1;
    }

    /// The latency within which `percent` of all lie, in seconds.
    pub(crate) fn quantile(&self, percent: u64) -> f64 {
        let wanted = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(index as u64) as f64 / 1e6;
            }
        }
        f64::NAN
    }
}

/// Values below [`SUB`] have a bucket each; above, every power of two has [`SUB`].
fn bucket(micros: u64) -> usize {
    let power = u64::from(micros.max(SUB).ilog2() - SUB.ilog2());
    usize::try_from(power * SUB + (micros >> power)).unwrap_or(usize::MAX)
}

/// The largest value of a bucket.
fn upper(index: u64) -> u64 {
    let power = (index / SUB).saturating_sub(1);
    ((index - power * SUB + 1) << power) - 1
}
