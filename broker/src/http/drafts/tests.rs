//! The rules of events, applied to request bodies.

use proptest::prelude::*;

use super::{super::params::known, *};

fn publish(query: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<Draft>, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let uri = format!("/e?{query}").parse().unwrap();
    let read = || {
        let params = Params::of(&uri, &map, &known::PUBLISH)?;
        let defaults = Defaults::of(&params, &map, "fresh".into())?;
        let rules =
            Publishing { max_event_bytes: 200, max_batch_events: 3, ..Publishing::default() };
        super::read(Format::of(&map)?, &map, Bytes::copy_from_slice(body), &defaults, &rules)
    };
    read().map_err(|p| format!("{p:?}"))
}

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const CE: (&str, &str) = ("content-type", "application/cloudevents+json");

#[test]
fn a_raw_body_is_the_data_unchanged() {
    for kind in ["text/plain", "application/json", "application/x-www-form-urlencoded", "image/png"]
    {
        let drafts =
            publish("topic=user.42&type=note&ttl=10m", &[("content-type", kind)], b"a\r\nb")
                .unwrap();
        let d = &drafts[0];
        assert_eq!(
            (&d.data[..], d.topic.as_deref(), d.event_type.as_deref()),
            (&b"a\r\nb"[..], Some("user.42"), Some("note"))
        );
        assert_eq!((d.ttl, &*d.key), (Some(600), "fresh"));
    }
    assert_eq!(publish("", &[], b"").unwrap()[0].data.len(), 0, "an empty event is an event");
    assert_eq!(publish("type=message", &[], b"x").unwrap()[0].event_type, None);
}

#[test]
fn a_broken_rule_is_rejected_with_its_field() {
    let cases: [(&str, &[u8], &str); 13] = [
        ("", b"a\xff", "\"field\": String(\"data\")"),
        ("", b"a\0", "\"field\": String(\"data\")"),
        ("", &[b'x'; 201], "\"limit\": Number(200)"),
        ("type=eventcast.gap", b"x", "\"field\": String(\"type\")"),
        ("type=error", b"x", "EventSource"),
        ("type=a%0Ab", b"x", "\"field\": String(\"type\")"),
        ("type=%C2%85a", b"x", "\"field\": String(\"type\")"),
        ("topic=a..b", b"x", "\"field\": String(\"topic\")"),
        ("topic=a.*", b"x", "wildcard"),
        ("topic=%3E", b"x", "wildcard"),
        ("ttl=0", b"x", "\"field\": String(\"ttl\")"),
        ("ttl=soon", b"x", "\"field\": String(\"ttl\")"),
        ("topic=a&topic=b", b"x", "more than once"),
    ];
    for (query, body, expected) in cases {
        let problem = publish(query, &[], body).unwrap_err();
        assert!(problem.contains(expected), "{query}: {expected} not in {problem}");
    }
    assert!(
        publish("type=a", &[("eventcast-type", "b")], b"").unwrap_err().contains("Send it once")
    );
    assert!(publish("", &[("content-encoding", "gzip")], b"").unwrap_err().contains("415"));
    assert!(publish("", &[("idempotency-key", "a b")], b"").is_err());
}

#[test]
fn a_batch_is_numbered_and_its_invalid_lines_are_named() {
    let body = b"{\"data\":\"a\"}\n\n{\"data\":{\"n\": 1},\"topic\":\"t\",\"id\":\"k\"}\n";
    let drafts = publish("type=note", &[NDJSON, ("idempotency-key", "key")], body).unwrap();
    assert_eq!((&drafts[0].data[..], &*drafts[0].key), (&b"a"[..], "key 0"));
    assert_eq!((&drafts[1].data[..], &*drafts[1].key), (&b"{\"n\": 1}"[..], "key 1"));
    for ttl in ["600", "600.0", "\"10m\""] {
        let body = format!("{{\"data\":\"a\",\"ttl\":{ttl}}}");
        assert_eq!(publish("", &[NDJSON], body.as_bytes()).unwrap()[0].ttl, Some(600), "{ttl}");
    }
    assert_eq!(drafts[1].event_type.as_deref(), Some("note"), "the query gives defaults");
    assert_eq!(
        publish("", &[NDJSON], body).unwrap()[1].key,
        "k",
        "its own key, where the request has none"
    );
    let bad = publish("", &[NDJSON], b"{\"data\":1}\n{\"data\":2,\"topc\":\"t\"}").unwrap_err();
    assert!(bad.contains("\"line\": Number(2)") && bad.contains("topc"), "{bad}");
    assert!(bad.contains("at column") && !bad.contains("line 1"), "one line is named: {bad}");
    let marked =
        publish("", &[NDJSON], b"\xef\xbb\xbf{\"data\":\"a\"}\r\n{\"data\":\"b\"}\r\n").unwrap();
    assert_eq!((&marked[0].data[..], marked.len()), (&b"a"[..], 2), "a byte order mark is ignored");
    assert!(publish("", &[NDJSON], b"{\"data\":\"\\ud800\"}").unwrap_err().contains("Number(1)"));
    assert!(publish("", &[NDJSON], b"\n").unwrap_err().contains("empty"));
    assert!(
        publish("", &[NDJSON], &b"{\"data\":1}\n".repeat(4)).unwrap_err().contains("Number(3)")
    );
    let deep = format!("{{\"data\":{}}}", "[".repeat(100_000));
    assert!(publish("", &[NDJSON], deep.as_bytes()).is_err(), "bounded recursion");
}

#[test]
fn a_cloudevent_of_every_mode_becomes_its_structured_json() {
    let json = br#"{"specversion":"1.0","id":"7","type":"t.x","source":"/s","topic":"user.1","data":{"a":1}}"#;
    let d = publish("", &[CE], json).unwrap().remove(0);
    assert_eq!(
        (d.event_type.as_deref(), d.source.as_deref(), d.topic.as_deref()),
        (Some("t.x"), Some("/s"), Some("user.1"))
    );
    assert_eq!((&*d.key, d.id.as_deref(), d.cloudevent), ("ce %2Fs 7", Some("7"), true));
    let binary = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-type", "t.x"),
        ("ce-source", "/s"),
        ("ce-subject", "caf%C3%A9"),
    ];
    let d = publish("topic=user.2", &binary, br#"{"a":1}"#).unwrap().remove(0);
    let data: serde_json::Value = serde_json::from_slice(&d.data).unwrap();
    assert_eq!((data["data"]["a"].as_i64(), data["subject"].as_str()), (Some(1), Some("café")));
    assert_eq!(d.topic.as_deref(), Some("user.2"));
    let batch = [b"[", &json[..], b"]"].concat();
    let kind = ("content-type", "application/cloudevents-batch+json; charset=utf-8");
    assert_eq!(publish("", &[kind], &batch).unwrap().len(), 1);
    for bad in
        [&b"{}"[..], b"[]", b"x", br#"{"specversion":"0.1","id":"1","type":"t","source":"/"}"#]
    {
        assert!(publish("", &[CE], bad).is_err());
    }
    let both = [binary.as_slice(), &[("ce-datacontenttype", "text/plain")]].concat();
    assert!(publish("", &both, b"x").unwrap_err().contains("ce-datacontenttype"));
}

proptest! {
    #[test]
    fn any_body_is_rejected_or_gives_events_that_pass_the_rules(body: Vec<u8>, kind in 0usize..4) {
        let kinds = ["text/plain", "application/x-ndjson", "application/cloudevents+json", "application/cloudevents-batch+json"];
        if let Ok(drafts) = publish("", &[("content-type", kinds[kind])], &body) {
            for d in drafts {
                prop_assert!(event::check_data(&d.data, 200).is_ok());
                prop_assert!(d.event_type.is_none_or(|t| event::check_type(&t).is_ok()));
            }
        }
    }

    #[test]
    fn no_topic_can_choose_its_subject(topic in "\\PC{1,30}") {
        let query: String = form_urlencoded::byte_serialize(topic.as_bytes()).collect();
        if let Ok(drafts) = publish(&format!("topic={query}"), &[], b"x") {
            let subject = drafts[0].topic.as_deref().unwrap_or_default();
            prop_assert!(!subject.contains([' ', '*', '>', '$', '\t', '\r', '\n']));
            prop_assert_eq!(topic::decode(subject), Some(topic));
        }
    }
}
