//! Whether a client saw what was published: everything, once, in order, with its cursor.

use anyhow::{Result, bail, ensure};

use super::{Client, Delivered};

/// Events in the order of the log.
#[derive(Clone, Debug, Default)]
pub struct Published(pub Vec<Delivered>);

impl Published {
    /// Compares them with what `client` saw. `cuts`: how often the stream may have ended inside an event, which matters only
    /// with clients that deliver such a half.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, client: &Client, cuts: usize) -> Result<()> {
        let name = &client.entry.name;
        let mut halves = if client.entry.drops_partial_event { 0 } else { cuts };
        let mut seen = client.events.iter().peekable();
        for (at, event) in self.0.iter().enumerate() {
            let data = client.entry.sees(&event.data);
            let whole = |seen: &Delivered| {
                seen.id == event.id && seen.event_type == event.event_type && seen.data == data
            };
            loop {
                let Some(next) = seen.next() else {
                    bail!("{name}: {} of {} events are missing", self.0.len() - at, self.0.len());
                };
                if whole(next) {
                    break;
                }
                let half = data.starts_with(next.data.trim_end()) || next.data.ends_with(&data);
                if halves > 0 && half {
                    halves -= 1;
                    if next.id == event.id {
                        break; // a half in front of the whole
                    }
                    continue;
                }
                let (want, got) = (brief(event, &data), brief(next, &next.data));
                let why = if self.0[..at].iter().any(|earlier| earlier.id == next.id) {
                    "again"
                } else if self.0[at..].iter().any(|later| later.id == next.id) {
                    "too early, or changed"
                } else {
                    "never published"
                };
                bail!("{name}: event {at} should be {want}, but is {got}, {why}");
            }
        }
        let more: Vec<_> = seen.map(|event| brief(event, &event.data)).collect();
        ensure!(more.is_empty(), "{name}: more than was published: {more:?}");
        Ok(())
    }
}

fn brief(event: &Delivered, data: &str) -> String {
    let start: String = data.chars().take(60).collect();
    format!("{} {:?} {start:?} ({} bytes)", event.id, event.event_type, data.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::{Entry, Line};

    fn event(id: &str, data: &str) -> Delivered {
        Delivered { id: id.into(), event_type: "message".into(), data: data.into() }
    }

    fn client(drops_partial_event: bool, seen: &[Delivered]) -> Client {
        let (_, lines) = tokio::sync::mpsc::channel::<Line>(1);
        let entry = Entry { name: "x".into(), drops_partial_event, ..Entry::default() };
        let mut client = Client::new(&entry, lines);
        client.events = seen.to_vec();
        client
    }

    #[test]
    fn missing_repeated_swapped_and_changed_events_are_found() {
        let published = Published(vec![event("1", "a"), event("2", "b"), event("3", "c")]);
        let says = |seen: &[Delivered]| {
            published.compare(&client(true, seen), 1).map_err(|e| e.to_string())
        };
        let [a, b, c] = [event("1", "a"), event("2", "b"), event("3", "c")];
        assert_eq!(says(&[a.clone(), b.clone(), c.clone()]), Ok(()));
        assert!(says(&[a.clone(), b.clone()]).unwrap_err().contains("missing"));
        assert!(says(&[a.clone(), a.clone(), b.clone(), c.clone()]).unwrap_err().contains("again"));
        assert!(says(&[a.clone(), c.clone(), b.clone()]).unwrap_err().contains("too early"));
        assert!(says(&[a.clone(), event("2", "x"), c.clone()]).unwrap_err().contains("changed"));
        assert!(says(&[a, b, c, event("4", "d")]).unwrap_err().contains("more than"));
    }

    #[test]
    fn a_half_is_forgiven_where_the_client_is_known_for_it_and_as_often_as_it_was_cut() {
        let published = Published(vec![event("1", "a"), event("2", "whole")]);
        let seen = [event("1", "a"), event("1", "wh"), event("2", "whole")];
        assert!(published.compare(&client(true, &seen), 1).is_err());
        assert!(published.compare(&client(false, &seen), 0).is_err());
        published.compare(&client(false, &seen), 1).unwrap();
        let glued = [event("1", "a"), event("2", "wh\nwhole")];
        published.compare(&client(false, &glued), 1).unwrap();
    }
}
