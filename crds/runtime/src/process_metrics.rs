//! The metrics that every process has: its build, and what it takes of the system (`process_*`), by the names of
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>.
//!
//! Not the collector of the prometheus crate, which counts processor time in whole seconds.

use parking_lot::Mutex;
use procfs::{
    ProcResult, WithCurrentSystemInfo as _,
    process::{LimitValue, Process},
};
use prometheus::{Counter, Gauge, IntGaugeVec, Opts, Registry};

/// Processor time of this process, in user and kernel mode, in milliseconds; `None` where the system does not tell.
#[must_use]
pub fn cpu_milliseconds() -> Option<u64> {
    let stat = Process::myself().and_then(|process| process.stat()).ok()?;
    Some((stat.utime + stat.stime) * 1000 / procfs::ticks_per_second())
}

/// The use of the system by this process.
pub struct ProcessMetrics {
    /// Locked while it is raised to what the system says.
    cpu_seconds: Mutex<Counter>,
    open_fds: Gauge,
    max_fds: Gauge,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    start_seconds: Gauge,
    threads: Gauge,
}

impl ProcessMetrics {
    /// Registers `eventcast_build_info` and `process_*` of this process. `program` is `broker` or `operator`.
    ///
    /// # Errors
    /// A metric with one of these names is registered already.
    pub fn register(registry: &Registry, program: &str, version: &str) -> prometheus::Result<Self> {
        let info = IntGaugeVec::new(
            Opts::new("eventcast_build_info", "Always 1. The labels say what runs."),
            &["program", "version", "architecture"],
        )?;
        info.with_label_values(&[program, version, std::env::consts::ARCH]).set(1);
        registry.register(Box::new(info))?;
        let gauge = |name: &str, help: &str| {
            let gauge = Gauge::new(format!("process_{name}"), help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let cpu_seconds = Counter::new(
            "process_cpu_seconds_total",
            "Processor time of the process, in user and kernel mode, in seconds.",
        )?;
        registry.register(Box::new(cpu_seconds.clone()))?;
        Ok(Self {
            cpu_seconds: Mutex::new(cpu_seconds),
            open_fds: gauge("open_fds", "Open file descriptors.")?,
            max_fds: gauge("max_fds", "The most file descriptors that may be open.")?,
            resident_bytes: gauge("resident_memory_bytes", "Resident memory in bytes.")?,
            virtual_bytes: gauge("virtual_memory_bytes", "Virtual memory in bytes.")?,
            start_seconds: gauge("start_time_seconds", "When the process started, in Unix time.")?,
            threads: gauge("threads", "Threads of the process.")?,
        })
    }

    /// Asks the system; called before each scrape. Where it does not answer, the last values stay.
    pub fn update(&self) {
        if let Err(error) = self.read() {
            tracing::debug!(%error, "failed to read what this process takes of the system");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "samples are floating-point numbers")]
    fn read(&self) -> ProcResult<()> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        self.raise_cpu_seconds((stat.utime + stat.stime) as f64 / ticks);
        self.open_fds.set(process.fd_count()? as f64);
        self.max_fds.set(match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(limit) => limit as f64,
            LimitValue::Unlimited => f64::INFINITY,
        });
        self.resident_bytes.set(stat.rss_bytes().get() as f64);
        self.virtual_bytes.set(stat.vsize as f64);
        let boot = procfs::boot_time_secs()? as f64;
        self.start_seconds.set(boot + stat.starttime as f64 / ticks);
        self.threads.set(stat.num_threads as f64);
        Ok(())
    }

    fn raise_cpu_seconds(&self, seconds: f64) {
        let counter = self.cpu_seconds.lock();
        counter.inc_by((seconds - counter.get()).max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_process_knows_what_it_takes() {
        let registry = Registry::new();
        let metrics = ProcessMetrics::register(&registry, "broker", "1.2.3").unwrap();
        metrics.update();
        let (files, before) = (metrics.open_fds.get(), metrics.cpu_seconds.lock().get());
        let _open: Vec<_> = (0..9).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let began = Instant::now();
        // However little of a processor this test gets.
        let used = || metrics.cpu_seconds.lock().get() - before;
        while used() < 0.02 && began.elapsed().as_secs() < 20 {
            (0..1_000_000).for_each(|_| std::hint::spin_loop());
            metrics.update();
        }
        assert!(metrics.open_fds.get() >= files + 9.0, "{files}, {}", metrics.open_fds.get());
        assert!((0.02..20.0).contains(&used()), "{} s", used());
        assert!(metrics.resident_bytes.get() > 1e6, "{}", metrics.resident_bytes.get());
        assert!(metrics.virtual_bytes.get() > metrics.resident_bytes.get());
        let milliseconds = cpu_milliseconds().unwrap() as f64;
        assert!(milliseconds >= metrics.cpu_seconds.lock().get() * 1000.0 - 1.0, "{milliseconds}");
        assert!(metrics.max_fds.get() > metrics.open_fds.get() && metrics.threads.get() >= 1.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - metrics.start_seconds.get();
        assert!((-1.0..600.0).contains(&age), "started {age} s ago");
        let families = registry.gather();
        assert_eq!(families.len(), 8);
        let labels = families[0].get_metric()[0].get_label();
        let labels: Vec<_> = labels.iter().map(|l| (l.name(), l.value())).collect();
        let expected =
            [("architecture", std::env::consts::ARCH), ("program", "broker"), ("version", "1.2.3")];
        assert_eq!((families[0].name(), &*labels), ("eventcast_build_info", &expected[..]));
        metrics.raise_cpu_seconds(0.0);
        assert!(metrics.cpu_seconds.lock().get() >= before, "a counter never falls");
    }
}
