//! Open streams, as brokers list them at their control ports. Pure.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

/// The list of one broker.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct List {
    pub(crate) total: usize,
    pub(crate) connections: Vec<Connection>,
}

/// One stream.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Connection {
    /// The pod of its broker.
    #[serde(default)]
    pub(crate) broker: String,
    pub(crate) id: String,
    pub(crate) channel: String,
    pub(crate) client: String,
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) protocol: String,
    pub(crate) tls: bool,
    pub(crate) topics: String,
    pub(crate) types: Vec<String>,
    pub(crate) age_seconds: u64,
    pub(crate) state: String,
    pub(crate) behind_events: u64,
    pub(crate) behind_seconds: Option<f64>,
    pub(crate) blocked_seconds: Option<f64>,
    pub(crate) events: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

/// Streams that a broker has closed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClosedBy {
    pub(crate) broker: String,
    pub(crate) closed: u64,
}

/// The first `limit` of the lists of several brokers, those that are furthest behind first if they are `slow`, else the oldest. Returns them
/// with the number of all.
pub(crate) fn merge(
    lists: Vec<(String, List)>,
    slow: bool,
    limit: usize,
) -> (Vec<Connection>, usize) {
    let total = lists.iter().map(|(_, list)| list.total).sum();
    let of = |(broker, list): (String, List)| {
        list.connections.into_iter().map(move |c| Connection { broker: broker.clone(), ..c })
    };
    let mut all: Vec<Connection> = lists.into_iter().flat_map(of).collect();
    if slow {
        all.sort_by_key(|connection| Reverse(connection.behind_events));
    } else {
        all.sort_by_key(|connection| Reverse(connection.age_seconds));
    }
    all.truncate(limit);
    (all, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_brokers_become_one() {
        let connection = |id: &str, age: u64, behind: u64| -> Connection {
            serde_json::from_value(serde_json::json!({"id": id, "channel": "a/b", "client": "::1",
                "issuer": null, "subject": null, "protocol": "HTTP/2", "tls": true, "topics": ">",
                "types": [], "age_seconds": age, "state": "live", "behind_events": behind,
                "behind_seconds": null, "blocked_seconds": null, "events": 1, "bytes": 2}))
            .unwrap()
        };
        let lists = || {
            let one = vec![connection("a", 5, 0), connection("b", 3, 9)];
            let two = vec![connection("c", 4, 7)];
            vec![
                ("x".to_owned(), List { total: 12, connections: one }),
                ("y".to_owned(), List { total: 1, connections: two }),
            ]
        };
        let ids = |(all, total): (Vec<Connection>, usize)| {
            let of = |c: &Connection| format!("{}{}", c.broker, c.id);
            (all.iter().map(of).collect::<Vec<_>>().join(" "), total)
        };
        assert_eq!(ids(merge(lists(), false, 9)), ("xa yc xb".into(), 13));
        assert_eq!(ids(merge(lists(), true, 2)), ("xb yc".into(), 13));
    }
}
