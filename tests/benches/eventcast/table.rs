//! A report as Markdown. Pure.

use crate::report::{Report, Spread, Target, Unit};

/// The table, and below it what is missing from it.
pub(crate) fn markdown(report: &Report) -> String {
    let mut out = format!(
        "{} processors, Linux {}, {} UTC; median (least to greatest) of the rounds\n\n",
        report.processors, report.kernel, report.time
    );
    out += "| case | figure | ours | compared with | ratio | target | met |\n";
    out += "|---|---|---|---|---|---|---|\n";
    for row in &report.rows {
        let unit = row.unit;
        let (base, ratio) = match &row.base {
            Some(base) => {
                let ratio = times(base.ratio);
                (format!("{} ({})", scaled(unit, base.value.median), base.name), ratio)
            }
            None => (String::new(), String::new()),
        };
        let ours = match &row.base {
            Some(_) => scaled(unit, row.ours.median),
            None => spread(unit, row.ours),
        };
        let target = row.target.map(|target| wanted(unit, target)).unwrap_or_default();
        let met = row.met.map_or("", |met| if met { "yes" } else { "**no**" });
        out += &format!(
            "| {} | {} | {ours} | {base} | {ratio} | {target} | {met} |\n",
            row.case, row.figure
        );
    }
    for note in &report.notes {
        out += &format!("\n{note}\n");
    }
    for failure in &report.failures {
        out += &format!("\n**failed**: {failure}\n");
    }
    out
}

fn wanted(unit: Unit, target: Target) -> String {
    match target {
        Target::RatioAtMost(most) => format!("<= {most:.2}x"),
        Target::RatioAtLeast(least) => format!(">= {least:.2}x"),
        Target::AtMost(most) => format!("<= {}", scaled(unit, most)),
    }
}

/// A ratio with its spread.
pub(crate) fn times(ratio: Spread) -> String {
    format!("{:.2}x ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max)
}

fn spread(unit: Unit, value: Spread) -> String {
    let [median, min, max] = [value.median, value.min, value.max].map(|v| scaled(unit, v));
    format!("{median} ({min} to {max})")
}

/// A value in the unit of its size.
pub(crate) fn scaled(unit: Unit, value: f64) -> String {
    let steps: &[(f64, &str)] = match unit {
        Unit::Seconds => &[(1.0, "s"), (1e-3, "ms"), (1e-6, "us")],
        Unit::Bytes => &[(1_048_576.0, "MB"), (1024.0, "KB"), (1.0, "B")],
        Unit::PerSecond => &[(1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")],
    };
    let fits = steps.iter().find(|(least, _)| value.abs() >= *least);
    let (size, name) = fits.or(steps.last()).copied().unwrap_or((1.0, ""));
    format!("{:.2} {name}", value / size)
}
