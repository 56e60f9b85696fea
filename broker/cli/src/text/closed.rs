//! Streams that brokers have closed. Pure.

use super::table;
use crate::{connections::ClosedBy, printable::printable};

/// One line for each broker.
pub(crate) fn closed(rows: &[ClosedBy]) -> String {
    let header = ["BROKER", "CLOSED"].map(str::to_owned);
    let lines = rows.iter().map(|row| [printable(&row.broker), row.closed.to_string()]);
    table(&[header].into_iter().chain(lines).collect::<Vec<_>>())
}
