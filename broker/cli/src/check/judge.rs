//! What the observations of a client mean. Pure.

use std::time::Duration;

use eventcast_crds::broker_status::DeliveryReason;
use eventcast_wire::proxy_advice::{Proxy, advice};
use http::{HeaderName, header};

use super::{
    Finding, Section, page,
    probe::{FIRST_BYTE_TIMEOUT, Observation, Refusal},
};
use crate::problem::Problem;

/// The first byte of a stream is there within this time, if nothing holds it back.
const PROMPT: Duration = Duration::from_secs(2);

/// What is found about the channel at `url`.
pub(crate) fn findings(url: &str, seen: &Observation) -> Vec<Finding> {
    let mut section = Section::new(format!("stream {url}"));
    judge(seen, &mut section);
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
    if let Some(coding) = text(header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
        let what = format!("the stream is compressed ({coding})");
        return problem(section, DeliveryReason::Compressed, what);
    }
    section.ok("the stream has the right type and is not compressed");
    let cache = text(header::CACHE_CONTROL).unwrap_or_default();
    if !cache.contains("no-transform") || !cache.contains("no-store") {
        let what = format!("a proxy has changed Cache-Control to {cache:?}");
        section.warn(
            what,
            "keep it: it tells proxies not to store or change the stream",
            page::PROXIES,
        );
    }
    let Some(first) = seen.first_byte else {
        let what = format!(
            "the head of the answer arrives after {} ms, and no byte of the stream within {FIRST_BYTE_TIMEOUT:?}",
            head.as_millis()
        );
        return problem(section, DeliveryReason::Buffered, what);
    };
    if first <= PROMPT {
        section.ok(format!("the first byte arrives after {} ms", first.as_millis()));
    } else {
        let what = format!("the first byte arrives after {:.1} s only", first.as_secs_f64());
        section.warn(what, advice(DeliveryReason::Buffered, proxy), page::DELIVERY);
    }
    if let Some(reason) = &seen.closing {
        let what = format!("the broker has closed the stream ({reason})");
        section.warn(what, "run the check again", page::TROUBLESHOOTING);
    } else if let Some((age, silence)) = seen.ended {
        let (age, silence) = (age.as_secs_f64(), silence.as_secs_f64());
        let what =
            format!("the stream was ended after {age:.0} s, {silence:.0} s after the last byte");
        problem(section, DeliveryReason::IdleTimeout, what);
    } else if let Some(heartbeat) = seen.heartbeat {
        section
            .ok(format!("something arrives later as well, after {:.0} s", heartbeat.as_secs_f64()));
    } else if let Some(interval) = seen.interval.filter(|interval| seen.waited < *interval * 6 / 5)
    {
        let (waited, interval) = (seen.waited.as_secs(), interval.as_secs());
        let what = format!(
            "nothing arrives within {waited} s, and a heartbeat is due only every {interval} s: whether the stream stays open is not known"
        );
        let advice = format!("wait longer: --wait {}", interval * 6 / 5 + 5);
        section.warn(what, &advice, page::DELIVERY);
    } else {
        let waited = seen.waited.as_secs();
        let what = format!("nothing arrives within {waited} s, not even a heartbeat");
        problem(section, DeliveryReason::Buffered, what);
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
            heartbeat: Some(Duration::from_secs(14)),
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
            with(|seen| (seen.heartbeat, seen.waited) = (None, Duration::from_secs(23))),
            with(|seen| {
                (seen.heartbeat, seen.waited) = (None, Duration::from_secs(23));
                seen.interval = Some(Duration::from_secs(60));
            }),
            with(|seen| {
                (seen.heartbeat, seen.waited) = (None, Duration::from_secs(77));
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
