use super::*;

fn of(query: &str, known: &KnownParams) -> Result<Params, Problem> {
    Params::of(&format!("/x?{query}").parse().unwrap(), &HeaderMap::new(), known)
}

fn params(query: &str) -> Params {
    of(query, &known::SUBSCRIBE).unwrap()
}

#[test]
fn the_header_wins_over_the_query_and_either_over_from() {
    let mut headers = HeaderMap::new();
    let p = params("last_event_id=b&from=earliest");
    assert_eq!(p.start(&headers, "latest", 0), Ok(Start::Cursor("b".into())));
    headers.insert("last-event-id", "a".parse().unwrap());
    assert_eq!(p.start(&headers, "latest", 0), Ok(Start::Cursor("a".into())));
    headers.insert("last-event-id", "".parse().unwrap());
    assert_eq!(
        params("from=earliest").start(&headers, "latest", 0),
        Ok(Start::Earliest),
        "empty is absent"
    );
    assert_eq!(
        params("").start(&HeaderMap::new(), "last:3", 0),
        Ok(Start::Last(3)),
        "the channel's default"
    );
    headers.append("last-event-id", "b".parse().unwrap());
    assert!(p.start(&headers, "latest", 0).is_err(), "two headers");
}

#[test]
fn start_positions_are_parsed_or_rejected() {
    let now = 1_000_000_000_000;
    assert_eq!(start("from", "-10m", now), Ok(Start::Since(now - 600_000_000_000)));
    assert_eq!(start("from", "1970-01-01T00:00:01Z", now), Ok(Start::Since(1_000_000_000)));
    assert_eq!(start("from", "k7q2m-1-000", now), Ok(Start::Cursor("k7q2m-1-000".into())));
    assert_eq!(start("from", "0001-01-01T00:00:00Z", now), Ok(Start::Since(i64::MIN)));
    for end in ["9999-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999-12:00"] {
        assert_eq!(start("from", end, now), Ok(Start::Since(i64::MAX)), "{end}");
    }
    for fraction in ["5", "500000000", "500000000999", "50000000000000000000000000000000"] {
        let (utc, offset) = (
            format!("1970-01-01T00:00:01.{fraction}Z"),
            format!("1970-01-01 02:00:01.{fraction} 02:00"),
        );
        assert_eq!(start("from", &utc, now), Ok(Start::Since(1_500_000_000)), "{utc}");
        assert_eq!(start("from", &offset, now), Ok(Start::Since(1_500_000_000)), "{offset}");
    }
    for bad in [
        "",
        "-1",
        "now",
        "last:0",
        "last:1001",
        "last:x",
        "last:+5",
        "-+1m",
        "-10",
        "-m",
        "2026-01-01",
        "9999-02-29T00:00:00Z",
        "1970-01-01T00:00:01.Z",
        "--1m",
        "-1y",
    ] {
        assert!(start("from", bad, now).is_err(), "{bad}");
    }
    assert!(start("from", &format!("-{}d", u64::MAX), now).is_err());
}

#[test]
fn the_cursor_is_accepted_in_the_spellings_that_clients_use() {
    let start = |query: &str| params(query).start(&HeaderMap::new(), "latest", 0);
    for name in [
        "lastEventId",
        "lastEventID",
        "LastEventId",
        "lasteventid",
        "last-event-id",
        "Last-Event-ID",
        "Last-Event-Id",
        "last_event_id",
        "LAST_EVENT_ID",
        "evs_last_event_id",
    ] {
        assert_eq!(start(&format!("{name}=a")), Ok(Start::Cursor("a".into())), "{name}");
        assert!(start(&format!("{name}=a&{name}=b")).is_err(), "{name} twice");
        assert_eq!(start(&format!("{name}=&from=earliest")), Ok(Start::Earliest), "{name}");
    }
    assert_eq!(start("last-event-id=a&lastEventId=b"), Ok(Start::Cursor("b".into())));
    assert_eq!(start("lastEventId=a&last-event-id="), Ok(Start::Cursor("a".into())));
}

#[test]
fn a_plus_that_became_a_space_is_read_as_a_plus() {
    let now = 0;
    let start = |text: &str| start("from", text, now);
    for text in [
        "1970-01-01T02:00:01+02:00",
        "1970-01-01T02:00:01 02:00",
        "1970-01-01 02:00:01 02:00",
        "1970-01-01 02:00:01.000 02:00",
        "1970-01-01T02:00:01 0200",
        "1970-01-01T00:00:01Z",
        "1970-01-01 00:00:01Z",
        "1969-12-31T22:00:01-02:00",
    ] {
        assert_eq!(start(text), Ok(Start::Since(1_000_000_000)), "{text}");
    }
    for text in [
        "1970-01-01 02:00:01",
        "1970-01-01 02:00",
        "1970-01-01T02:00:01  02:00",
        " 1",
        "1970-01-01 ",
    ] {
        let problem = format!("{:?}", start(text).unwrap_err());
        assert!(problem.contains("%2B"), "{text}: {problem}");
    }
}

#[test]
fn a_query_is_decoded_as_a_form_and_only_from_utf_8() {
    let decoded = |query: &str| params(query).0;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        decoded("topic=a+b%2B%C3%A9&&topic&type==&topic=%zz%2"),
        [pair("topic", "a b+é"), pair("topic", ""), pair("type", "="), pair("topic", "%zz%2")]
    );
    assert_eq!(decoded("topic=%EF%BF%BD"), [pair("topic", "\u{fffd}")]);
    for bad in ["topic=%ff", "topic=%E9", "topic=a%C3", "from=%ff", "topic=%ED%A0%80", "_=%ff"] {
        assert!(of(bad, &known::SUBSCRIBE).is_err(), "{bad}");
    }
}

#[test]
fn too_many_patterns_are_rejected() {
    assert!(params(&"topic=a&".repeat(32)).filter(false).is_ok());
    assert!(params(&"topic=a&".repeat(33)).filter(false).is_err());
    assert!(params("topic=a..b").filter(false).is_err());
    assert!(params("topic=").filter(false).is_err());
}
