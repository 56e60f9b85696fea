//! What the operator asks of one broker: to close streams until only so many are left. The contract between operator and broker.
//!
//! The operator writes the JSON into the annotation [`ANNOTATION`] of the broker's pod, and the kubelet shows it to the broker as a file
//! (downward API). An order names a ceiling and an end, so that a late, repeated or lost one does no harm. The format only grows: a reader
//! ignores fields that it does not know, and a whole order whose `format` it does not know.

use serde::{Deserialize, Serialize};

/// Annotation of a pod with the [`Order`] for its broker.
pub const ANNOTATION: &str = "eventcast.dev/orders";
/// The format of this version.
pub const FORMAT: u32 = 1;
/// The longest time that an order is in force, in seconds.
pub const MAX_SECONDS: u64 = 300;
/// Age at which an order is no longer begun, in seconds: it was written for a state that has passed.
pub const MAX_AGE_SECONDS: i64 = 180;

/// Close streams until no more than `ceiling` are open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// [`FORMAT`].
    pub format: u32,
    /// Identifies the order: a new id is a new order, the same id is the same one, read again.
    pub id: String,
    /// When it was written, in seconds since 1970.
    pub at: i64,
    /// Streams that the broker keeps.
    pub ceiling: u64,
    /// How long it is in force, in seconds from when the broker first sees it. At most [`MAX_SECONDS`].
    pub seconds: u64,
}

impl Order {
    /// Reads an order that a broker may follow at `now` (seconds since 1970). A clock that differs by a minute or two does no harm.
    ///
    /// # Errors
    /// Why the order is ignored.
    pub fn parse(text: &str, now: i64) -> Result<Self, String> {
        let order: Self = serde_json::from_str(text).map_err(|e| format!("not an order: {e}"))?;
        if order.format != FORMAT {
            return Err(format!("its format is {}, this version knows {FORMAT}", order.format));
        }
        let age = now.saturating_sub(order.at);
        if age.abs() > MAX_AGE_SECONDS {
            return Err(format!("it was written {age} s ago: the limit is {MAX_AGE_SECONDS} s"));
        }
        Ok(Self { seconds: order.seconds.min(MAX_SECONDS), ..order })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"format":1,"id":"9f3c","at":1000,"ceiling":11000,"seconds":60}"#;

    #[test]
    fn the_format_stays_as_it_is() {
        let order = Order { format: 1, id: "9f3c".into(), at: 1000, ceiling: 11_000, seconds: 60 };
        assert_eq!(serde_json::to_string(&order).unwrap(), TEXT);
        assert_eq!(Order::parse(TEXT, 1060), Ok(order.clone()));
        let future = TEXT.replace("60}", r#"60,"future":{}}"#);
        assert_eq!(Order::parse(&future, 1000), Ok(order));
    }

    #[test]
    fn what_cannot_be_meant_is_ignored() {
        let reason = |text: &str, now| Order::parse(text, now).unwrap_err();
        assert!(reason("", 1000).contains("not an order"));
        assert!(
            reason(&TEXT.replace("\"format\":1", "\"format\":2"), 1000).contains("format is 2")
        );
        assert!(reason(TEXT, 1181).contains("181 s ago"), "it was written for another state");
        assert!(reason(TEXT, 819).contains("-181 s ago"), "by a clock that is far off");
        let long = Order::parse(&TEXT.replace(":60", ":86400"), 1000).unwrap();
        assert_eq!(long.seconds, MAX_SECONDS);
    }
}
