//! Which order is in force. Pure; time is an argument.
//!
//! An order is in force for its duration, from when the broker first reads it, as long as the file contains it. Reading the same order
//! again does not extend it.

use std::{io::ErrorKind, time::Duration};

use eventcast_crds::orders::Order;

use crate::watch::Content;

/// The orders that were read.
#[derive(Default)]
pub(super) struct Orders {
    /// What the file had at the last read.
    read: Option<Content>,
    last: Option<Followed>,
}

/// The last order that could be followed.
struct Followed {
    order: Order,
    /// The content of the file.
    text: Vec<u8>,
    /// When it ends.
    until: Duration,
    /// The file still contains it, or something that is ignored.
    is_there: bool,
}

/// What a read of the file has shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OrderUpdate<'a> {
    Nothing,
    /// A new order is in force.
    Order(&'a Order),
    /// The file has no order that could be followed. The last one remains in force.
    Ignored(String),
}

impl Orders {
    /// Notes what the file has at `now`, which is `now_seconds` since 1970. `None`: there is no file.
    pub(super) fn read(
        &mut self,
        content: Option<Content>,
        now_seconds: i64,
        now: Duration,
    ) -> OrderUpdate<'_> {
        if content == self.read {
            return OrderUpdate::Nothing;
        }
        self.read.clone_from(&content);
        let text = match content {
            Some(Ok(text)) if !text.trim_ascii().is_empty() => text,
            None | Some(Ok(_) | Err(ErrorKind::NotFound)) => {
                if let Some(last) = &mut self.last {
                    last.is_there = false;
                }
                return OrderUpdate::Nothing;
            }
            Some(Err(kind)) => {
                return OrderUpdate::Ignored(format!("the file cannot be read: {kind}"));
            }
        };
        if let Some(last) = self.last.as_mut().filter(|last| last.text == text) {
            last.is_there = true; // whatever its age is now
            return OrderUpdate::Nothing;
        }
        let order = match Order::parse(&String::from_utf8_lossy(&text), now_seconds) {
            Ok(order) => order,
            Err(reason) => return OrderUpdate::Ignored(reason),
        };
        if let Some(last) = self.last.as_mut().filter(|last| last.order.id == order.id) {
            last.is_there = true;
            return OrderUpdate::Nothing;
        }
        let until = now + Duration::from_secs(order.seconds);
        let followed = self.last.insert(Followed { order, text, until, is_there: true });
        OrderUpdate::Order(&followed.order)
    }

    /// How many streams are to stay open at `now`; `None`: no order is in force.
    pub(super) fn ceiling(&self, now: Duration) -> Option<usize> {
        let last = self.last.as_ref().filter(|last| last.is_there && now < last.until)?;
        Some(usize::try_from(last.order.ceiling).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: i64 = 1_764_150_000;

    fn text(id: &str, ceiling: u64, seconds: u64) -> Option<Content> {
        let order = Order { format: 1, id: id.into(), at: BEGAN, ceiling, seconds };
        Some(Ok(serde_json::to_vec(&order).unwrap()))
    }

    /// Reads `content` so many seconds after the beginning. Returns what is in force then, and whether the order is new.
    fn read(orders: &mut Orders, content: Option<Content>, at: u64) -> (Option<usize>, bool) {
        let now = Duration::from_secs(at);
        let update = orders.read(content, BEGAN + i64::try_from(at).unwrap(), now);
        let is_new = matches!(update, OrderUpdate::Order(_));
        (orders.ceiling(now), is_new)
    }

    #[test]
    fn an_order_is_in_force_for_its_time_and_not_again() {
        let mut orders = Orders::default();
        assert_eq!(read(&mut orders, text("a", 7, 60), 10), (Some(7), true));
        assert_eq!(read(&mut orders, text("a", 7, 60), 69), (Some(7), false));
        assert_eq!(read(&mut orders, text("a", 7, 60), 70), (None, false));
        assert_eq!(read(&mut orders, text("a", 5, 300), 71), (None, false), "the same id");
        assert_eq!(read(&mut orders, text("b", 5, 60), 72), (Some(5), true));
        assert_eq!(read(&mut orders, text("c", 9, 60), 73), (Some(9), true), "it replaces b");
        assert_eq!(orders.ceiling(Duration::from_secs(132)), Some(9), "not the time of b");
        assert_eq!(orders.ceiling(Duration::from_secs(133)), None);
    }

    #[test]
    fn an_order_that_is_taken_back_is_not_in_force() {
        for absent in
            [None, Some(Ok(vec![])), Some(Ok(b" \n".into())), Some(Err(ErrorKind::NotFound))]
        {
            let mut orders = Orders::default();
            assert_eq!(read(&mut orders, absent.clone(), 0), (None, false));
            assert_eq!(read(&mut orders, text("a", 7, 300), 0), (Some(7), true));
            assert_eq!(read(&mut orders, absent.clone(), 1), (None, false));
            // The configuration named no file meanwhile, and the order is older than a new one may be.
            assert_eq!(read(&mut orders, text("a", 7, 300), 200), (Some(7), false));
            assert_eq!(read(&mut orders, absent.clone(), 201), (None, false));
            assert_eq!(
                read(&mut orders, text("a", 7, 300), 300),
                (None, false),
                "its time is over"
            );
        }
    }

    #[test]
    fn what_cannot_be_followed_is_reported_once_and_changes_nothing() {
        let mut orders = Orders::default();
        read(&mut orders, text("a", 7, 60), 0);
        let now = Duration::from_secs(1);
        for (content, why) in [
            (Ok(b"rubbish".to_vec()), "not an order"),
            (Ok(vec![0xff, 0xfe]), "not an order"),
            (
                Ok(br#"{"format":2,"id":"b","at":0,"ceiling":1,"seconds":9}"#.to_vec()),
                "format is 2",
            ),
            (Ok(br#"{"format":1,"id":"b","at":0,"ceiling":1,"seconds":9}"#.to_vec()), "s ago"),
            (Err(ErrorKind::PermissionDenied), "cannot be read"),
        ] {
            let OrderUpdate::Ignored(reason) = orders.read(Some(content.clone()), BEGAN, now)
            else {
                panic!("{content:?} is followed");
            };
            assert!(reason.contains(why), "{reason}");
            assert_eq!(orders.read(Some(content), BEGAN, now), OrderUpdate::Nothing, "one warning");
            assert_eq!(orders.ceiling(now), Some(7));
        }
    }
}
