//! What processes use: processor and memory.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// What some processes have used so far.
pub(crate) struct Usage(Vec<Process>);

struct Process {
    name: String,
    processor: Duration,
    memory: u64,
}

impl Usage {
    /// What they have used.
    pub(crate) fn of(pids: Vec<(String, u32)>) -> Result<Self> {
        let of = |(name, pid)| Ok(Process { name, processor: processor(pid)?, memory: rss(pid)? });
        pids.into_iter().map(of).collect::<Result<_>>().map(Self)
    }

    /// Prints the processor time since `before`, and the memory.
    #[expect(clippy::print_stdout, reason = "figures")]
    pub(crate) fn print_since(&self, before: &Self) {
        for (now, before) in self.0.iter().zip(&before.0) {
            let used = now.processor.saturating_sub(before.processor).as_secs_f64();
            let (memory, earlier) = (mb(now.memory), mb(before.memory));
            println!("  {:15} {used:8.2} s {memory:8.1} MB (before {earlier:.1} MB)", now.name);
        }
    }

    /// Prints the share of one processor in the time since `before`, and the memory.
    #[expect(clippy::print_stdout, reason = "figures")]
    pub(crate) fn print_shares(&self, before: &Self, time: Duration) {
        for (now, before) in self.0.iter().zip(&before.0) {
            let used = now.processor.saturating_sub(before.processor).as_secs_f64();
            let share = used / time.as_secs_f64() * 100.0;
            println!("  {:15} {share:8.2} % {:8.1} MB", now.name, mb(now.memory));
        }
    }
}

/// The value below which `percent` of `values` lie.
pub(crate) fn quantile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((values.len() * percent / 100).min(last)).copied().unwrap_or(f64::NAN)
}

pub(crate) fn mb(bytes: u64) -> f64 {
    u32::try_from(bytes >> 10).map_or(f64::MAX, f64::from) / 1024.0
}

/// Time of all processors that a process has used. `/proc/<pid>/stat` counts in hundredths of a second.
pub(crate) fn processor(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(')').context("no stat")?.1;
    let fields: Vec<_> = after.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Resident memory of a process in bytes.
fn rss(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).context("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}
