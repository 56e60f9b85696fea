//! What the observations of a client mean. Pure.

use std::time::Duration;

use eventcast_crds::broker_status::DeliveryReason;
use eventcast_wire::proxy_advice::{Proxy, advice};
use http::{HeaderName, header};

use super::{
    Finding, Section, page,
    probe::{FIRST_BYTE_TIMEOUT, MAX_WAIT, Observation, Refusal, compression, longest_silence},
};
use crate::problem::Problem;

/// The first byte of a stream is there within this time, if nothing holds it back.
const PROMPT: Duration = Duration::from_secs(2);
/// A shorter time between two events proves nothing about silences.
const MIN_SILENCE: Duration = Duration::from_secs(1);

/// What is found about the channel at `url`.
pub(crate) fn findings(url: &str, seen: &Observation) -> Vec<Finding> {
    let mut section = Section::new(format!("stream {url}"));
    judge(seen, &mut section);
    section.done()
}

/// What is found about a channel that no way leads to.
pub(crate) fn unreachable(url: &str, why: &str) -> Vec<Finding> {
    let mut section = Section::new(format!("stream {url}"));
    section.fail(why, "", page::TROUBLESHOOTING);
    section.done()
}

fn judge(seen: &Observation, section: &mut Section) {
    let Some((time, state)) = &seen.described else {
        return refused(seen.refused.as_ref(), section);
    };
    match state.as_str() {
        "degraded" => section.fail(
            "a broker answers, and it cannot reach the log",
            "check NATS: publishers get 503 meanwhile",
            page::TROUBLESHOOTING,
        ),
        state => {
            section.ok(format!("a broker answers in {} ms, the log is {state}", time.as_millis()))
        }
    }
    if !access(seen, section) {
        return;
    }
    stream(seen, section);
}

/// Whether the client may subscribe.
fn access(seen: &Observation, section: &mut Section) -> bool {
    let Some(access) = &seen.access else { return true };
    let text = |name: &str| access[name].as_str().unwrap_or_default();
    let who = match (text("way"), text("subject")) {
        ("", _) | ("anonymous", _) => "without a credential you".to_owned(),
        (way, "") => format!("the credential ({way})"),
        (way, subject) => format!("the credential ({way}, {subject})"),
    };
    let may = ["subscribe", "publish", "manage"];
    let may =
        may.into_iter().filter(|action| !access[*action].is_null() && access[*action] != false);
    let may: Vec<_> = may.collect();
    if may.contains(&"subscribe") {
        section.ok(format!("{who} may {}", may.join(", ")));
        return true;
    }
    let advice = "pass --token-file with a credential that may, or open the channel in its access";
    section.fail(format!("{who} may not subscribe"), advice, page::ACCESS);
    false
}

fn stream(seen: &Observation, section: &mut Section) {
    let proxy = Proxy::of(&seen.headers, None);
    let problem = |section: &mut Section, reason, what: String| {
        section.fail(what, advice(reason, proxy), page::DELIVERY);
    };
    if let Some(refusal) = &seen.refused {
        return refused(Some(refusal), section);
    }
    let Some(head) = seen.head else {
        let what =
            format!("the answer to a subscription does not arrive within {FIRST_BYTE_TIMEOUT:?}");
        return problem(section, DeliveryReason::Buffered, what);
    };
    let text = |name: HeaderName| seen.headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or("no type");
    if !kind.starts_with("text/event-stream") {
        let status = seen.status.map_or(0, |status| status.as_u16());
        let what = format!("the answer to a subscription has status {status} and type {kind}");
        return problem(section, DeliveryReason::UnexpectedAnswer, what);
    }
    match compression(&seen.headers) {
        Some(coding) => {
            let what = format!("the stream is compressed ({coding})");
            problem(section, DeliveryReason::Compressed, what);
        }
        None => section.ok("the stream has the right type and is not compressed"),
    }
    let cache = text(header::CACHE_CONTROL).unwrap_or_default();
    if !cache.contains("no-transform") || !cache.contains("no-store") {
        let what = format!("a proxy has changed Cache-Control to {cache:?}");
        section.warn(
            what,
            "keep it: it tells proxies not to store or change the stream",
            page::PROXIES,
        );
    }
    match seen.first_byte {
        Some(first) if first <= PROMPT => {
            section.ok(format!("the first byte arrives after {} ms", first.as_millis()));
        }
        Some(first) if first <= FIRST_BYTE_TIMEOUT => {
            let what = format!("the first byte arrives after {:.1} s only", first.as_secs_f64());
            section.warn(what, advice(DeliveryReason::Buffered, proxy), page::DELIVERY);
        }
        _ => {
            let head = head.as_millis();
            let what = format!(
                "the head of the answer arrives after {head} ms, and no byte of the stream within {FIRST_BYTE_TIMEOUT:?}"
            );
            problem(section, DeliveryReason::Buffered, what);
        }
    }
    if let Some(reason) = &seen.closing {
        let what = format!("the broker has closed the stream ({reason})");
        section.warn(what, "run the check again", page::TROUBLESHOOTING);
    } else if let Some((age, silence)) = seen.ended {
        let (age, silence) = (age.as_secs_f64(), silence.as_secs_f64());
        let what =
            format!("the stream was ended after {age:.0} s, {silence:.0} s after the last byte");
        problem(section, DeliveryReason::IdleTimeout, what);
    } else if seen.first_byte.is_some() {
        silences(seen, section, proxy);
    }
}

/// What is known about silences of a stream that was not ended.
fn silences(seen: &Observation, section: &mut Section, proxy: Proxy) {
    let longest = seen.interval.map(longest_silence);
    let waited = seen.waited.as_secs();
    if let Some(survived) = seen.survived {
        let mut what = if survived < MIN_SILENCE {
            "the stream stays open; no silence was seen, since events keep arriving".to_owned()
        } else {
            format!("the stream survives a silence of {:.0} s", survived.as_secs_f64())
        };
        if let Some(longest) = longest.filter(|longest| survived < *longest) {
            let (longest, wait) = (longest.as_secs(), (longest * 6).min(MAX_WAIT).as_secs());
            what += &format!(" (one can last {longest} s: --wait {wait} reads on)");
        }
        section.ok(what);
    } else if let Some(longest) = longest.filter(|longest| seen.waited < *longest) {
        let interval = seen.interval.unwrap_or_default().as_secs();
        let what = format!(
            "nothing arrives within {waited} s, and a heartbeat is due only every {interval} s: whether the stream stays open is not known"
        );
        let advice = format!("wait longer: --wait {}", longest.as_secs() + 5);
        section.warn(what, &advice, page::DELIVERY);
    } else {
        let what = format!("nothing arrives within {waited} s, not even a heartbeat");
        section.fail(what, advice(DeliveryReason::Buffered, proxy), page::DELIVERY);
    }
}

fn refused(refusal: Option<&Refusal>, section: &mut Section) {
    match refusal {
        None => {}
        Some(Refusal::NoAnswer(why)) => {
            let advice = "check that the broker runs, the DNS record, the load balancer, and that its certificate is valid";
            section.fail(format!("nobody answers: {why}"), advice, page::TROUBLESHOOTING);
        }
        Some(Refusal::Problem(problem)) => about(problem, section),
    }
}

fn about(problem: &Problem, section: &mut Section) {
    let page = match problem.status.as_u16() {
        401 | 403 => page::ACCESS,
        _ => page::STATUS_CODES,
    };
    let text = problem.to_string();
    // What the broker or the command line says to do is in the lines after the first.
    let (what, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let rest = rest.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    section.fail(what, &rest, page);
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};
    use serde_json::json;

    use super::*;
    use crate::{check::Level, text::golden};

    fn good() -> Observation {
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store, no-transform"),
            (header::SERVER, "nginx"),
        ];
        let ms = Duration::from_millis;
        Observation {
            described: Some((ms(12), "live".into())),
            access: Some(
                json!({"way": "token", "subject": "ann", "subscribe": {"topics": []}, "publish": null, "manage": false}),
            ),
            status: Some(StatusCode::OK),
            headers: HeaderMap::from_iter(
                headers.map(|(name, value)| (name, HeaderValue::from_static(value))),
            ),
            head: Some(ms(8)),
            first_byte: Some(ms(9)),
            survived: Some(Duration::from_secs(14)),
            waited: Duration::from_secs(14),
            ..Observation::default()
        }
    }

    fn with(change: impl FnOnce(&mut Observation)) -> Observation {
        let mut seen = good();
        change(&mut seen);
        seen
    }

    #[test]
    fn a_good_channel_has_no_finding() {
        let found = findings("http://a", &good());
        assert!(found.iter().all(|finding| finding.level == Level::Ok), "{found:?}");
        assert_eq!(found.len(), 5);
        let unknown = with(|seen| seen.interval = Some(Duration::from_secs(15)));
        let last = findings("http://a", &unknown).pop().unwrap();
        let what = "the stream survives a silence of 14 s (one can last 18 s: --wait 108 reads on)";
        assert_eq!((last.level, last.what.as_str()), (Level::Ok, what));
        let busy = with(|seen| seen.survived = Some(Duration::from_millis(400)));
        let last = findings("http://a", &busy).pop().unwrap();
        let what = "the stream stays open; no silence was seen, since events keep arriving";
        assert_eq!((last.level, last.what.as_str()), (Level::Ok, what));
    }

    #[test]
    fn what_is_wrong_matches_the_golden_file() {
        let header = |seen: &mut Observation, name, value| {
            seen.headers.insert(name, HeaderValue::from_static(value));
        };
        let problem = |status, kind: &'static str, body: &str| {
            let kind =
                HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            let status = StatusCode::from_u16(status).unwrap();
            Refusal::Problem(Box::new(Problem::new(status, &kind, body.as_bytes())))
        };
        let refused = |refusal| Observation { refused: Some(refusal), ..Observation::default() };
        let seen = [
            refused(Refusal::NoAnswer("cannot connect to a:80".into())),
            refused(problem(
                404,
                "application/problem+json",
                r#"{"type":"urn:eventcast:problem:no-such-channel","title":"Not found","detail":"No such channel."}"#,
            )),
            refused(problem(502, "text/html", "<h1>Bad Gateway</h1>")),
            with(|seen| seen.described = Some((Duration::from_millis(3), "degraded".into()))),
            with(|seen| {
                seen.access = Some(json!({"way": "anonymous", "subscribe": null, "publish": {}}))
            }),
            with(|seen| seen.head = None),
            with(|seen| header(seen, header::CONTENT_TYPE, "text/html")),
            with(|seen| header(seen, header::CONTENT_ENCODING, "gzip")),
            with(|seen| header(seen, header::CACHE_CONTROL, "public")),
            with(|seen| seen.first_byte = None),
            with(|seen| seen.first_byte = Some(Duration::from_secs(3))),
            with(|seen| seen.closing = Some("draining".into())),
            with(|seen| seen.ended = Some((Duration::from_secs(10), Duration::from_secs(10)))),
            with(|seen| {
                header(seen, header::CONTENT_ENCODING, "gzip");
                (seen.first_byte, seen.ended) =
                    (None, Some((Duration::from_secs(10), Duration::from_secs(10))));
            }),
            with(|seen| (seen.survived, seen.waited) = (None, Duration::from_secs(23))),
            with(|seen| {
                (seen.survived, seen.waited) = (None, Duration::from_secs(23));
                seen.interval = Some(Duration::from_secs(60));
            }),
            with(|seen| {
                (seen.survived, seen.waited) = (None, Duration::from_secs(77));
                seen.interval = Some(Duration::from_secs(60));
            }),
        ];
        let shown = |seen| {
            let mut findings = findings("http://a", &seen);
            findings.retain(|finding| finding.level != Level::Ok);
            assert!(!findings.is_empty());
            crate::text::check(&findings)
        };
        golden("check", &seen.map(shown).concat());
    }
}
