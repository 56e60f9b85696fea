//! The conditions of channels and pools, and what to do about each reason.

use eventcast_crds::conditions::{self, reasons};

const PREAMBLE: &str = "# Conditions

Conditions in the status of channels and pools, in the order in which they depend on each other. Generated from `crds/src/conditions` by `make docs`.
`kubectl eventcast status` shows them with what to do; the message of a condition says what is wrong, in detail. The reasons are stable: scripts and alerts may compare them.
[Channels on Kubernetes](../KUBERNETES.md#the-status) tells when the operator tries again by itself.
";

/// The reference: a section for each condition, with a row for each reason.
#[must_use]
pub fn markdown() -> String {
    let mut out = PREAMBLE.to_owned();
    for (condition, meaning) in conditions::ALL {
        out.push_str(&format!("\n## {condition}\n\n{}\n", meaning.trim()));
        let mut reasons =
            reasons::ALL.iter().filter(|reason| reason.conditions.contains(condition)).peekable();
        if reasons.peek().is_some() {
            out.push_str("\n| reason | status | meaning | what to do |\n|---|---|---|---|\n");
        }
        for reason in reasons {
            let advice = reason.advice.map_or_else(String::new, |advice| {
                format!("{} ([{}](../{}))", advice.step, title(advice.page), advice.page)
            });
            let (name, status) = (reason.name, reason.status.as_str());
            out.push_str(&format!(
                "| `{name}` | {status} | {} | {advice} |\n",
                reason.meaning.trim()
            ));
        }
    }
    out
}

/// The text of a link to a page: its file's name.
fn title(page: &str) -> &str {
    let file = page.split('#').next().unwrap_or(page);
    file.rsplit('/').next().unwrap_or(file)
}
