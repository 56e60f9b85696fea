//! Properties of the encoder, and attempts at injection. The rules R1, R2, R3, R5, R6 and R9 of the wire.

use proptest::prelude::*;

use super::*;
use crate::{
    cursor::{Check, Epoch},
    gap::GapReason,
};

fn a_cursor() -> Cursor {
    Cursor { epoch: Epoch::mint(7), sequence: 42, check: Check::of_time(1) }
}

/// An independent parser, as the specification describes it. Returns events as (type, data, id).
fn parse(bytes: &[u8]) -> Vec<(String, String, String)> {
    let text = std::str::from_utf8(bytes).expect("valid UTF-8");
    let (mut out, mut event, mut data, mut id) =
        (vec![], String::new(), String::new(), String::new());
    for line in text.replace("\r\n", "\n").replace('\r', "\n").split_terminator('\n') {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => event = value.into(),
            "data" => data = data + value + "\n",
            "id" => id = value.into(),
            "" if line.is_empty() => {
                if let Some(data) = data.strip_suffix('\n') {
                    out.push((std::mem::take(&mut event), data.to_owned(), id.clone()));
                }
                (event, data) = (String::new(), String::new());
            }
            _ => {}
        }
    }
    out
}

fn normalise(data: &str) -> String {
    data.replace("\r\n", "\n").replace('\r', "\n")
}

proptest! {
    #[test]
    fn every_event_is_parsed_as_exactly_one_event(data in "[^\0]*", name in proptest::option::of("[a-z.]{1,20}")) {
        let frame = event(name.as_deref(), &data, &a_cursor());
        let expected = (name.unwrap_or_default(), normalise(&data), a_cursor().to_string());
        prop_assert_eq!(parse(&frame), vec![expected]);
    }

    #[test]
    fn line_ends_of_every_kind_become_lf(parts in proptest::collection::vec("(\r|\n|\r\n|a| |:|id: 9)", 0..12)) {
        let raw = parts.concat();
        let frame = event(None, &raw, &a_cursor());
        prop_assert!(!frame.contains(&b'\r'));
        prop_assert_eq!(parse(&frame).len(), 1);
        prop_assert_eq!(data(&frame), normalise(&raw));
        prop_assert_eq!(data_len(&frame), normalise(&raw).len());
    }

    #[test]
    fn consecutive_events_are_parsed_separately(all in proptest::collection::vec("[^\0]{0,20}", 1..20)) {
        let bytes: Vec<u8> = all.iter().flat_map(|d| event(None, d, &a_cursor())).collect();
        let got: Vec<_> = parse(&bytes).into_iter().map(|e| e.1).collect();
        prop_assert_eq!(got, all.iter().map(|d| normalise(d)).collect::<Vec<_>>());
    }
}

#[test]
fn data_cannot_inject_fields() {
    for attack in [
        "\n\nevent: control\ndata: {}",
        "\r\revent: control\rdata: {}",
        "\r\n\r\nevent: control\r\ndata: {}",
        "a\rid: 999",
        "a\r\rdata: x",
        "\u{2028}\u{2029}\u{85}\u{b}\u{c}",
        "{\n  \"a\": 1\n}",
        "\u{feff}bom",
        "\n\n\n",
        "",
        " leading space",
    ] {
        let frame = event(Some("t"), attack, &a_cursor());
        let expected = ("t".into(), normalise(attack), a_cursor().to_string());
        assert_eq!(parse(&frame), [expected], "{attack:?}");
        assert_eq!(data(&frame), normalise(attack));
    }
}

#[test]
fn a_trace_is_a_comment_that_changes_nothing_of_the_event() {
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-01";
    let (trace, frame) =
        (TraceContext::parse(text).expect("valid"), event(None, "a\nb", &a_cursor()));
    let with = traced(&trace, &frame);
    assert!(with.starts_with(format!(": traceparent {text}\n").as_bytes()));
    assert_eq!(
        (parse(&with), data(&with), data_len(&with)),
        (parse(&frame), data(&frame), data_len(&frame))
    );
}

#[test]
fn the_id_is_the_last_field() {
    let frame = event(Some("t"), "a\nb", &a_cursor());
    let text = std::str::from_utf8(&frame).expect("text");
    assert_eq!(text, format!("event: t\ndata: a\ndata: b\nid: {}\n\n", a_cursor()));
}

#[test]
fn control_events_have_data_and_the_heartbeat_is_one_comment_line() {
    assert_eq!(&HEARTBEAT[..], b":\n");
    assert_eq!(&opening(2000)[..], b"retry: 2000\n:\n");
    let events = parse(&cursor(&a_cursor()));
    assert_eq!(events[0].0, "eventcast.cursor");
    assert_eq!(events[0].2, a_cursor().to_string());
    assert_eq!(parse(&heartbeat("t"))[0].2, "", "a heartbeat has no id");
    assert_eq!(parse(&closing("draining", 1500))[0].1, r#"{"reason":"draining","retry_ms":1500}"#);
    assert_eq!(
        parse(&probe(7)),
        [("eventcast.probe".into(), r#"{"number":7}"#.into(), String::new())]
    );
    let told = parse(&expiring("2026-01-02T03:04:05Z", 1500, Some("/renew"))).remove(0);
    assert_eq!((&*told.0, &*told.2), ("eventcast.expiring", ""));
    assert_eq!(told.1, r#"{"expires_at":"2026-01-02T03:04:05Z","in_ms":1500,"renew":"/renew"}"#);
    let lost = Gap {
        requested: "asked".into(),
        resumed_at: "here".into(),
        lost: Some(3),
        reason: GapReason::Expired,
    };
    let told = parse(&gap(&lost, &a_cursor())).remove(0);
    assert_eq!((told.0, told.2), ("eventcast.gap".into(), a_cursor().to_string()));
    assert_eq!(told.1, r#"{"requested":"asked","resumed_at":"here","lost":3,"reason":"expired"}"#);
}
