//! Whether a run is worse than an earlier one by more than noise. Pure.
//!
//! What is compared is what does not depend on the machine's speed: ratios, and memory, which has none. A figure is worse when even its
//! best round lies beyond the worst of the earlier run by more than the tolerance.

use crate::{
    report::{Report, Row, Spread, Unit},
    table,
};

/// One line for each figure that got worse.
pub(crate) fn worse(now: &Report, before: &Report, tolerance: f64) -> Vec<String> {
    let mut found = Vec::new();
    for row in &now.rows {
        let same = |old: &&Row| old.case == row.case && old.figure == row.figure;
        let Some(old) = before.rows.iter().find(same) else { continue };
        let (Some(new_value), Some(old_value)) = (comparable(row), comparable(old)) else {
            continue;
        };
        if is_worse(new_value, old_value, row.unit.higher_is_better(), tolerance) {
            let show = |value: Spread| match row.base {
                Some(_) => table::times(value),
                None => table::scaled(row.unit, value.median),
            };
            let (old_text, new_text) = (show(old_value), show(new_value));
            found.push(format!("{}, {}: {new_text}, was {old_text}", row.case, row.figure));
        }
    }
    found
}

fn comparable(row: &Row) -> Option<Spread> {
    match &row.base {
        Some(base) => Some(base.ratio),
        None => (row.unit == Unit::Bytes).then_some(row.ours),
    }
}

fn is_worse(new: Spread, old: Spread, higher_is_better: bool, tolerance: f64) -> bool {
    let slack = tolerance * old.median.abs();
    if higher_is_better { new.max < old.min - slack } else { new.min > old.max + slack }
}
