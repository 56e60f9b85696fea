//! The NATS subjects of a channel's events. Pure.
//!
//! | subject | event |
//! |---|---|
//! | `<prefix>.all` | a broadcast |
//! | `<prefix>.t.<topic>` | an event with a topic, encoded by [`crate::topic::encode`] |
//! | `<prefix>.internal.all`, `<prefix>.internal.t.<topic>` | the same, from the broker itself, with a reserved type |
//!
//! Publishers with access to NATS may write to the first two only (docs/OPERATIONS.md). So the subject proves that an event with a
//! reserved type comes from a broker.

use crate::{event::BadEvent, topic};

/// Who published an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client, over HTTP or straight to NATS.
    Publisher,
    /// A broker of the channel.
    Broker,
}

/// The subject of an event of `origin`. `topic` is encoded; `None` is a broadcast.
#[must_use]
pub fn of(prefix: &str, origin: Origin, topic: Option<&str>) -> String {
    let internal = match origin {
        Origin::Publisher => "",
        Origin::Broker => ".internal",
    };
    match topic {
        Some(topic) => format!("{prefix}{internal}.t.{topic}"),
        None => format!("{prefix}{internal}.all"),
    }
}

/// The origin and the decoded topic of an event with `subject`.
///
/// # Errors
/// The subject is not one of the channel's.
pub fn parse(prefix: &str, subject: &str) -> Result<(Origin, Option<String>), BadEvent> {
    let rest = subject.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
    let rest = rest.ok_or(BadEvent::Subject)?;
    let (origin, rest) = match rest.strip_prefix("internal.") {
        Some(rest) => (Origin::Broker, rest),
        None => (Origin::Publisher, rest),
    };
    match rest.strip_prefix("t.") {
        Some(tokens) => topic::decode(tokens).map(|t| (origin, Some(t))).ok_or(BadEvent::Subject),
        None if rest == "all" => Ok((origin, None)),
        None => Err(BadEvent::Subject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_subject_is_parsed_back(topic in proptest::option::of("\\PC{1,30}"), internal: bool) {
            let origin = if internal { Origin::Broker } else { Origin::Publisher };
            if let Ok(tokens) = topic.as_deref().map(topic::encode).transpose() {
                let subject = of("sse.a.b", origin, tokens.as_deref());
                prop_assert_eq!(parse("sse.a.b", &subject), Ok((origin, topic)));
            }
        }

        #[test]
        fn any_subject_is_parsed_or_rejected(rest in "(\\.(internal|t|all|[a-z%$]{1,3})){0,4}") {
            let subject = format!("sse.a.b{rest}");
            if let Ok((origin, topic)) = parse("sse.a.b", &subject) {
                let tokens = topic.map(|t| topic::encode(&t).unwrap());
                prop_assert_eq!(of("sse.a.b", origin, tokens.as_deref()), subject);
            }
        }
    }
}
