//! Findings. Pure.

use crate::{
    check::{Finding, Level},
    printable::{counted, printable},
};

/// Findings by their sections, and how many there are.
pub(crate) fn check(findings: &[Finding]) -> String {
    let mut out = String::new();
    let mut section = None;
    for finding in findings {
        if section != Some(&finding.section) {
            let gap = if section.is_some() { "\n" } else { "" };
            out += &format!("{gap}{}\n", printable(&finding.section));
            section = Some(&finding.section);
        }
        let level = match finding.level {
            Level::Ok => "ok   ",
            Level::Warn => "warn ",
            Level::Fail => "FAIL ",
        };
        out += &format!("  {level} {}\n", printable(&finding.what));
        if finding.level != Level::Ok {
            let more = [finding.advice.as_deref(), finding.link.as_deref()];
            for line in more.into_iter().flatten().flat_map(str::lines) {
                out += &format!("        {}\n", printable(line));
            }
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count() as u64;
    let warnings = counted(count(Level::Warn), "warning");
    out + &format!("\n{} ok, {warnings}, {} failed\n", count(Level::Ok), count(Level::Fail))
}
