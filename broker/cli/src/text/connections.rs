//! Open streams. Pure.

use super::{table, units};
use crate::{connections::Connection, printable::printable};

/// One line for each stream.
pub(crate) fn connections(connections: &[Connection], wide: bool) -> String {
    let header = ["ID", "CLIENT", "SUBJECT", "STATE", "BEHIND", "AGE", "SENT", "BROKER"];
    let more = ["CHANNEL", "PROTOCOL", "TOPICS", "TYPES", "EVENTS"];
    let mut rows = vec![row(header.map(str::to_owned), more.map(str::to_owned), wide)];
    for connection in connections {
        let Connection { id, client, broker, channel, topics, types, .. } = connection;
        let text = |text: &str| printable(text);
        let cells = [
            text(id),
            text(client),
            connection.subject.as_deref().map_or_else(|| "-".into(), text),
            state(connection),
            behind(connection),
            units::age(connection.age_seconds as f64),
            connection.bytes.map_or_else(|| "?".into(), |bytes| units::bytes(bytes as f64)),
            text(broker),
        ];
        let tls = if connection.tls { " TLS" } else { "" };
        let more = [
            text(channel),
            format!("{}{tls}", text(&connection.protocol)),
            text(topics),
            if types.is_empty() { "*".into() } else { text(&types.join(", ")) },
            connection.events.map_or_else(|| "?".into(), |events| events.to_string()),
        ];
        rows.push(row(cells, more, wide));
    }
    table(&rows)
}

fn row(cells: [String; 8], more: [String; 5], wide: bool) -> [String; 13] {
    let more = if wide { more } else { Default::default() };
    let mut all = cells.into_iter().chain(more);
    std::array::from_fn(|_| all.next().unwrap_or_default())
}

fn state(connection: &Connection) -> String {
    match connection.blocked_seconds {
        Some(seconds) => format!("{} {}", printable(&connection.state), units::age(seconds)),
        None => printable(&connection.state),
    }
}

fn behind(connection: &Connection) -> String {
    match (connection.behind_events, connection.behind_seconds) {
        (0, _) => "-".into(),
        (events, None) => events.to_string(),
        (events, Some(seconds)) => format!("{events} ({})", units::age(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::golden;

    #[test]
    fn streams_match_the_golden_file() {
        let good = Connection {
            broker: "orders-broker-6d5f9c7b8-2xk4".into(),
            id: "0a1b2c3d4e5f60718293a4b5".into(),
            channel: "shop/orders".into(),
            client: "192.0.2.7".into(),
            issuer: Some("https://login.example.com".into()),
            subject: Some("user\u{1b}[31m-7".into()),
            protocol: "HTTP/2".into(),
            tls: true,
            topics: "user.7, (broadcast)".into(),
            types: vec!["order.*".into(), "note".into()],
            age_seconds: 754,
            state: "live".into(),
            behind_events: 0,
            behind_seconds: None,
            blocked_seconds: None,
            events: Some(12),
            bytes: Some(1536),
        };
        let slow = Connection {
            subject: None,
            protocol: "HTTP/1.1".into(),
            tls: false,
            topics: ">, (broadcast)".into(),
            types: Vec::new(),
            state: "blocked".into(),
            behind_events: 4711,
            behind_seconds: Some(83.2),
            blocked_seconds: Some(12.5),
            events: None,
            bytes: None,
            ..good.clone()
        };
        let unknown = Connection { behind_seconds: None, ..slow.clone() };
        let all = [good, slow, unknown];
        golden("connections", &(connections(&all, false) + "\n" + &connections(&all, true)));
    }
}
