//! Content negotiation (RFC 9110, section 12.5.1) between an event stream and JSON.

use http::{HeaderMap, header};

use super::problem::{Kind, Problem};

/// The media type of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Representation {
    Stream,
    Json,
}

/// How specific a media range is. The order matters: later variants take precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Anything,
    Type,
    Exact,
}

/// The quality of a media type by the most specific range that matches it.
type Quality = Option<(Specificity, f32)>;

struct Accepted {
    stream: Quality,
    json: Quality,
    /// Whether there is any media range.
    any: bool,
}

impl Accepted {
    fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self { stream: None, json: None, any: false };
        for value in headers.get_all(header::ACCEPT) {
            for range in value.to_str().unwrap_or_default().split(',') {
                let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
                let essence = parts.next().unwrap_or_default();
                if essence.is_empty() {
                    continue;
                }
                accepted.any = true;
                let q = parts.find_map(|p| Some(p.strip_prefix("q=")?.parse().unwrap_or(0.0)));
                for (quality, exact, of_type) in [
                    (&mut accepted.stream, "text/event-stream", "text/*"),
                    (&mut accepted.json, "application/json", "application/*"),
                ] {
                    let specificity = match &*essence {
                        e if e == exact => Specificity::Exact,
                        e if e == of_type => Specificity::Type,
                        "*/*" => Specificity::Anything,
                        _ => continue,
                    };
                    if quality.is_none_or(|(s, _)| specificity > s) {
                        *quality = Some((specificity, q.unwrap_or(1.0)));
                    }
                }
            }
        }
        accepted
    }
}

fn q(quality: Quality) -> f32 {
    quality.map_or(0.0, |(_, q)| q)
}

/// Chooses the response to `GET …/events`: the stream if the client has no preference. Clients of JSON (axios, Angular) name it and add
/// `*/*`: a stream, which never ends, would hang them without an error.
pub(super) fn negotiate(headers: &HeaderMap) -> Result<Representation, Problem> {
    let Accepted { stream, json, any } = Accepted::of(headers);
    let names_json_alone = matches!(json, Some((Specificity::Exact, _)))
        && !matches!(stream, Some((Specificity::Exact, _)));
    let streams = q(stream) > q(json) || (q(stream) == q(json) && !names_json_alone);
    if !any || (streams && q(stream) > 0.0) {
        return Ok(Representation::Stream);
    }
    if q(json) > 0.0 {
        return Ok(Representation::Json);
    }
    Err(not_acceptable(
        "Events are available as text/event-stream, past events also as application/json.",
    ))
}

/// Rejects a publisher that prefers a stream. A client that subscribes by `POST` repeats the request after every disconnect, and
/// would publish its body each time.
pub(super) fn refuse_stream(headers: &HeaderMap) -> Result<(), Problem> {
    let Accepted { stream, json, .. } = Accepted::of(headers);
    match stream {
        Some((Specificity::Exact, wanted)) if wanted > q(json) => Err(not_acceptable(
            "POST publishes its body and answers application/json. Subscribe with GET. To publish, send Accept: application/json or \
             no Accept header.",
        )
        .close()),
        _ => Ok(()),
    }
}

fn not_acceptable(detail: &str) -> Problem {
    Problem::new(Kind::NOT_ACCEPTABLE, detail).with("field", "Accept")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for range in accept {
            headers.append(header::ACCEPT, range.parse().unwrap());
        }
        headers
    }

    fn of(accept: &[&str]) -> Option<Representation> {
        negotiate(&headers(accept)).ok()
    }

    #[test]
    fn the_stream_unless_json_is_preferred() {
        for accept in [
            &[][..],
            &["*/*"],
            &["text/*"],
            &["text/event-stream"],
            &["Text/Event-Stream"],
            &["text/event-stream, application/json"],
            &["application/*, */*"],
            &["application/json;q=0.9, */*"],
        ] {
            assert_eq!(of(accept), Some(Representation::Stream), "{accept:?}");
        }
        for accept in [
            &["application/json"][..],
            &["Application/JSON"],
            &["application/*"],
            &["text/event-stream;q=0.1", "application/json"],
            &["text/event-stream;Q=0.1", "application/json"],
            &["application/json, */*"],
            &["application/json, text/plain, */*"],
            &["application/json;q=0.5, */*;q=0.5"],
        ] {
            assert_eq!(of(accept), Some(Representation::Json), "{accept:?}");
        }
        for accept in [&["text/event-stream;q=0"][..], &["text/html"], &["image/*"]] {
            assert_eq!(of(accept), None, "{accept:?}");
        }
    }

    #[test]
    fn a_publisher_that_prefers_a_stream_to_json_is_rejected() {
        for accept in [
            &["text/event-stream"][..],
            &["TEXT/EVENT-STREAM; charset=utf-8"],
            &["text/event-stream", "application/json;q=0.9"],
            &["text/event-stream, */*;q=0.1"],
            &["text/event-stream, text/html"],
        ] {
            assert!(refuse_stream(&headers(accept)).is_err(), "{accept:?}");
        }
        for accept in [
            &[][..],
            &["*/*"],
            &["text/*"],
            &["text/html"],
            &["application/json, text/event-stream"],
            &["text/event-stream, */*"],
            &["text/event-stream;q=0.5, application/json"],
            &["text/event-stream;q=0"],
        ] {
            assert!(refuse_stream(&headers(accept)).is_ok(), "{accept:?}");
        }
    }
}
