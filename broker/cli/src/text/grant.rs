//! What a credential grants. Pure.

use super::table;
use crate::{answers::Access, printable::printable};

/// What a broker says that a client may do.
pub(crate) fn grant(access: &Access) -> String {
    let list = |topics: &[String], has_broadcast: bool| {
        let topics = topics.iter().map(|topic| printable(topic));
        let broadcast = has_broadcast.then(|| "broadcasts".to_owned());
        topics.chain(broadcast).collect::<Vec<_>>().join(", ")
    };
    let no = || "no".to_owned();
    let subscribe = access.subscribe.as_ref().map(|may| list(&may.topics, may.broadcast));
    let publish = access.publish.as_ref().map(|may| {
        let topics = list(&may.topics, may.broadcast);
        match &may.types[..] {
            [] => topics,
            types => format!("{topics}; types {}", list(types, false)),
        }
    });
    let mut rows = vec![["way".to_owned(), printable(&access.way)]];
    let mut add = |name: &str, value: Option<String>| {
        rows.extend(value.map(|value| [name.to_owned(), value]));
    };
    add("issuer", access.issuer.as_deref().map(printable));
    add("subject", access.subject.as_deref().map(printable));
    add("subscribe", Some(subscribe.unwrap_or_else(no)));
    add("publish", Some(publish.unwrap_or_else(no)));
    add("manage", Some(if access.manage { "yes".to_owned() } else { no() }));
    add("until", access.expires_at.as_deref().map(printable));
    table(&rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::text::golden;

    #[test]
    fn grants_match_the_golden_file() {
        let ann = json!({"way": "token", "issuer": "https://login.example.com/", "subject": "ann", "manage": false,
            "subscribe": {"topics": ["user.ann"], "broadcast": true},
            "publish": {"topics": ["user.ann"], "types": ["note.>"], "broadcast": false, "source": "/users/ann"},
            "expires_at": "2026-11-26T12:00:00Z", "future": 1});
        let nobody = json!({"way": "api-key", "issuer": null, "subject": "backend", "subscribe": null, "publish": null,
            "manage": true, "expires_at": null});
        let shown = [ann, nobody].map(|access| grant(&serde_json::from_value(access).unwrap()));
        golden("grant", &shown.join("---\n"));
    }
}
