//! What the broker costs, and how fast it is: `make bench`. Every figure is a ratio to something that was measured in the same run
//! on the same machine: the floor (`floor.rs`), a peer, or the same thing under easier conditions. `docs/performance/method.md` says how to read it.
//!
//! - [`options`]: the command line; [`cases`]: what is measured, a file each;
//! - [`server`]: floor, broker and peer as processes; [`floor`]: the floor itself, run by the child;
//! - [`load`]: readers and publishers, one thread, one epoll; [`measure`]: what the kernel says;
//! - [`report`]: rounds to rows; [`table`], [`check`]: rows to text, rows against an earlier run.

mod cases;
mod check;
mod floor;
mod load;
mod measure;
mod options;
mod report;
mod server;
mod table;

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    cases::{Bench, Case},
    options::Options,
    report::Report,
    server::nchan,
};

/// Sockets of the largest case, with room to spare.
const FILES: u64 = 65_536;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("serve-floor") {
        let port = arguments.next().context("serve-floor wants a port")?;
        floor::serve(port.parse()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    raise_file_limit();
    let options = Options::parse();
    let before = options.check().map(|old| read(&old)).transpose()?; // tells of a wrong path before all the work
    let report = run(&options)?;
    let json = options.json();
    if let Some(folder) = json.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&json, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("failed to write {}", json.display()))?;
    let mut text = table::markdown(&report);
    let worse = before.map(|before| check::worse(&report, &before, options.tolerance));
    match worse.as_deref() {
        None => {}
        Some([]) => text += "\nNothing got worse.\n",
        Some(worse) => text += &format!("\nworse than before:\n- {}\n", worse.join("\n- ")),
    }
    say(&text);
    let failed = !report.failures.is_empty() || worse.is_some_and(|worse| !worse.is_empty());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[expect(clippy::print_stdout, reason = "a benchmark says what it measured")]
fn say(text: &str) {
    println!("{text}");
}

fn run(options: &Options) -> Result<Report> {
    let mut report = Report {
        time: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M").to_string(),
        processors: std::thread::available_parallelism()?.get(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        rows: Vec::new(),
        failures: Vec::new(),
        notes: Vec::new(),
    };
    let cases = options.cases();
    let compared = cases.iter().any(|case| matches!(case, Case::Fanout | Case::Bursts));
    if compared && nchan::installed().is_none() {
        report.notes.push(nchan::MISSING.to_owned());
    }
    let bench = Bench::new(options.clone())?;
    for case in cases {
        let mut readings = Vec::new();
        for round in 1..=options.rounds {
            eprintln!("{case:?}, round {round} of {}", options.rounds);
            match case.round(&bench, round) {
                Ok(more) => readings.extend(more),
                Err(error) => {
                    let failure = format!("{case:?}, round {round}: {error:#}");
                    eprintln!("{failure}");
                    report.failures.push(failure);
                    break; // what goes wrong once goes wrong again
                }
            }
        }
        report.rows.extend(report::rows(&readings));
    }
    Ok(report)
}

fn read(path: &Path) -> Result<Report> {
    let text = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("no report: {}", path.display()))
}

/// As many files as may be, for this process and its children: what does not suffice is told when a connection fails.
fn raise_file_limit() {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.map_or(FILES, |maximum| maximum.max(FILES));
    let wishes = [(most, most), (now.maximum.unwrap_or(most), now.maximum.unwrap_or(most))];
    for (current, maximum) in wishes {
        let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
        if setrlimit(Resource::Nofile, limit).is_ok() {
            return;
        }
    }
}
