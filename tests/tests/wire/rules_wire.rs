//! Rules about the bytes of a stream, over HTTP/1.1 and HTTP/2: R1 to R6, R9 to R11, R17, R18, R21. The others are in
//! `rules_http`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    http::{Publish, Version},
    sse::{Item, Parser},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use serde_json::json;

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);

/// What must stay inert inside data (sse.md, section 1.2).
const INJECTIONS: [&str; 10] = [
    "\n\nevent: control\ndata: {}",
    "\r\revent: control\rdata: {}",
    "\r\n\r\nevent: control\r\ndata: {}\r\n\r\n",
    "a\rid: 999",
    "a\r\rdata: x",
    "a\nretry: 1\n:",
    "\u{feff}data: x",
    "a\u{2028}id: 999\u{2029}b\u{85}c\u{b}d\u{c}e",
    "{\n  \"raw\": \"newlines\"\n}",
    " \n  leading and trailing \n ",
];

/// Every event of a raw stream, read by the strict parser.
fn events(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let items = Parser::default().feed(bytes)?.into_iter();
    Ok(items
        .filter_map(|item| match item {
            Item::Event(event) => Some((event.event_type, event.data)),
            Item::Retry(_) | Item::Comment(_) => None,
        })
        .collect())
}

/// R1: only LF on the wire, never CR, never a BOM.
#[tokio::test]
async fn r1_only_lf_ends_lines_and_no_bom_begins_a_stream() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for data in INJECTIONS {
        broker.publish(data).await?;
    }
    broker.publish("last").await?;
    for version in HTTP_VERSIONS {
        let mut stream = broker.subscribe(version, "?from=earliest", &[]).await?;
        let bytes = stream.read_until(b"data: last\n").await?;
        ensure!(!bytes.contains(&b'\r'), "a CR: {:?}", String::from_utf8_lossy(&bytes));
        ensure!(!bytes.starts_with("\u{feff}".as_bytes()), "a BOM");
        ensure!(bytes.starts_with(b"retry: "), "{version:?}: the first field comes first");
    }
    Ok(())
}

/// R2: an event is one buffer and one write, its `id:` stands last, and a graceful close never cuts inside an event.
#[tokio::test]
async fn r2_an_event_is_one_write_with_its_id_last_and_a_drain_ends_between_events() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut streams = Vec::new();
    for version in HTTP_VERSIONS {
        streams.push(broker.open_stream(version, "").await?);
    }
    for n in 0..50 {
        broker.publish(format!("{{\n\"n\": {n}\n}}")).await?;
    }
    broker.terminate()?;
    for stream in &mut streams {
        let mut last = Vec::new();
        while let Some(piece) = stream.next_chunk().await? {
            let text = String::from_utf8(piece)?;
            let whole = text.ends_with("\n\n") || text.ends_with(":\n");
            ensure!(whole, "a write that is not made of whole blocks: {text:?}");
            for block in text.split_terminator("\n\n").filter(|block| block.contains("data: {\n")) {
                let end = block.lines().next_back().unwrap_or_default();
                ensure!(end.starts_with("id: "), "the id is not last: {block:?}");
                ensure!(block.matches("id: ").count() == 1, "more than one id: {block:?}");
            }
            last = text.into_bytes();
        }
        ensure!(
            String::from_utf8_lossy(&last).contains("event: eventcast.closing\n"),
            "the end of the body is not the goodbye: {last:?}"
        );
    }
    Ok(())
}

/// R3: every event has an id that we mint: visible ASCII without `, & = ? /`, at most 64 bytes, never a sentinel. The order
/// is the log's; that ids sort as text is not kept: cursors are opaque (design.md, section 1).
#[tokio::test]
async fn r3_every_event_has_an_id_that_is_safe_in_headers_and_urls() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut minted = Vec::new();
    for n in 0..20 {
        minted.push(broker.publish(n.to_string()).await?);
    }
    for version in HTTP_VERSIONS {
        let mut stream = broker.subscribe(version, "?from=earliest", &[]).await?;
        stream.next_block_with("event: eventcast.cursor\n").await?;
        for cursor in &minted {
            let block = stream.next_block_with("data: ").await?;
            let id = block.lines().find_map(|line| line.strip_prefix("id: ")).context("no id")?;
            assert_eq!(id, cursor, "what the publisher was told is what the subscriber gets");
            ensure!(id.len() <= 64 && id != "-1" && id != "now", "{id}");
            let safe = |b: u8| (0x21..=0x7e).contains(&b) && !b",&=?/".contains(&b);
            ensure!(id.bytes().all(safe), "{id}");
        }
    }
    Ok(())
}

/// R4: what a publisher calls its event is metadata, never the SSE `id:`.
#[tokio::test]
async fn r4_ids_of_publishers_are_metadata() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let cloud = r#"{"specversion":"1.0","id":"MINE-1","source":"/s","type":"t"}"#;
    for event in [
        Publish::new("a").key("MINE-2"),
        Publish::new(cloud).header("Content-Type", "application/cloudevents+json"),
        Publish::new(r#"{"data":"b","id":"MINE-3"}"#)
            .header("Content-Type", "application/x-ndjson"),
        Publish::new("c").header("Last-Event-ID", "MINE-4"),
    ] {
        assert_eq!(broker.send(&event).await?.status, 201);
    }
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Eventcast-Id", "MINE-5");
    headers.insert("Nats-Msg-Id", "MINE-6");
    let jetstream = broker.nats.jetstream().await?;
    jetstream.publish_with_headers("sse.default.demo.all", headers, "d".into()).await?.await?;
    broker.publish("last").await?;
    for version in HTTP_VERSIONS {
        let mut stream = broker.subscribe(version, "?from=earliest", &[]).await?;
        let text = String::from_utf8(stream.read_until(b"data: last\n").await?)?;
        ensure!(!text.contains("id: MINE"), "{text}");
    }
    let accept = [("Accept", "application/json")];
    let history = broker.request(Version::Http1, "GET", EVENTS, &accept).await?.json().await?;
    let ids: Vec<_> = (0..5).map(|i| history["events"][i]["id"].clone()).collect();
    assert_eq!(ids, [json!(null), json!("MINE-1"), json!("MINE-3"), json!(null), json!("MINE-5")]);
    Ok(())
}

/// R5: the cursor moves without a payload by a named event with data, not by a block of an id alone.
#[tokio::test]
async fn r5_a_cursor_moves_by_a_named_event_with_data() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].delivery.heartbeat_seconds = 1;
    })
    .await?;
    for version in HTTP_VERSIONS {
        let mut stream = broker.open_stream(version, "?topic=mine").await?;
        let told = |cursor: &str| {
            format!("event: eventcast.cursor\ndata: {{\"cursor\":\"{cursor}\"}}\nid: {cursor}")
        };
        let first = stream.next_block().await?;
        let at = first.rsplit("id: ").next().unwrap_or_default();
        assert_eq!(first, told(at), "at the start");
        let answer = broker.send(&Publish::new("x").topic("other")).await?;
        let moved = stream.next_block_with("eventcast").await?;
        let moved = moved.trim_start_matches(":\n"); // heartbeats before it
        assert_eq!(moved, told(answer.cursor().context("stored")?), "what the filter held back");
    }
    Ok(())
}

/// R6: the first bytes of every stream come at once and are `retry: N`, LF, `:`, LF; a heartbeat is the two bytes `:` LF.
#[tokio::test]
async fn r6_the_first_bytes_arrive_at_once_and_heartbeats_are_one_comment_line() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].delivery.heartbeat_seconds = 1;
        config.limits.subscribers = 5;
    })
    .await?;
    let mut open = Vec::new();
    for version in HTTP_VERSIONS {
        let began = tokio::time::Instant::now();
        let mut stream = broker.open_stream(version, "").await?;
        ensure!(began.elapsed() < Duration::from_millis(900), "not at once, but {began:?}");
        stream.read_until(b"\n\n").await?; // the cursor
        for _ in 0..2 {
            assert_eq!(stream.next_chunk().await?.context("it ended")?, b":\n", "a heartbeat");
        }
        let mut gap = broker.subscribe(version, "", &[("Last-Event-ID", "garbage")]).await?;
        gap.read_retry().await?;
        ensure!(
            gap.next_block().await?.starts_with("event: eventcast.gap\n"),
            "the gap comes next"
        );
        open.extend([stream, gap]);
    }
    open.push(broker.open_stream(Version::Http1, "").await?);
    for version in HTTP_VERSIONS {
        let mut refused = broker.subscribe(version, "", &[]).await?;
        refused.read_retry().await.context("also of those that are sent away")?;
        ensure!(refused.next_block().await?.contains("eventcast.closing"), "sent away");
    }
    Ok(())
}

/// R9: data is split at CR LF, CR and LF into `data: ` lines, always with one space; nothing in it starts a field.
#[tokio::test]
async fn r9_every_line_of_data_is_a_data_line_and_nothing_in_it_is_obeyed() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for data in INJECTIONS {
        broker.publish(data).await?;
        let line = json!({ "data": data }).to_string();
        let batch = Publish::new(line).header("Content-Type", "application/x-ndjson");
        assert_eq!(broker.send(&batch).await?.status, 201);
    }
    broker.publish("").await?;
    broker.publish("last").await?;
    for version in HTTP_VERSIONS {
        let mut stream = broker.subscribe(version, "?from=earliest", &[]).await?;
        let mut bytes = stream.read_until(b"data: last\n").await?;
        bytes.extend(stream.read_until(b"\n\n").await?);
        let text = std::str::from_utf8(&bytes)?;
        for line in text.lines().filter(|line| line.starts_with("data")) {
            ensure!(line.starts_with("data: "), "{line:?}");
        }
        let mut got = events(&bytes)?;
        assert_eq!(got.remove(0).0, "eventcast.cursor");
        let normal = |data: &str| data.replace("\r\n", "\n").replace('\r', "\n");
        let mut wanted: Vec<_> =
            INJECTIONS.iter().flat_map(|data| [normal(data), normal(data)]).collect();
        wanted.extend([String::new(), "last".to_owned()]);
        let data: Vec<_> = got.iter().map(|(_, data)| data.clone()).collect();
        assert_eq!(data, wanted, "{version:?}: each event once, as it was meant");
        ensure!(got.iter().all(|(kind, _)| kind == "message"), "nobody made a type: {got:?}");
    }
    Ok(())
}

/// R10: an event has at most 256 KiB of data unless the channel says otherwise; what is within goes through whole.
#[tokio::test]
async fn r10_an_event_of_256_kib_passes_and_one_byte_more_is_refused() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let most = "m".repeat(256 << 10);
    let mut streams = [
        broker.open_stream(HTTP_VERSIONS[0], "").await?,
        broker.open_stream(HTTP_VERSIONS[1], "").await?,
    ];
    broker.publish(most.clone()).await?;
    for stream in &mut streams {
        let block = stream.next_block_with("data: m").await?;
        let data = block.lines().find_map(|line| line.strip_prefix("data: "));
        ensure!(data == Some(&*most), "{} bytes came", data.unwrap_or_default().len());
    }
    let (more, address) = (most + "m", broker.address());
    let refused =
        RawResponse::request(Version::Http2, address, "POST", EVENTS, &[], more.as_bytes()).await?;
    assert_eq!(refused.expect_problem(413).await?["limit"], 256 << 10);
    Ok(())
}

/// R11: `Content-Type: text/event-stream; charset=utf-8`, in these letters, once. R21: `X-Accel-Buffering: no` and
/// `Cache-Control: no-store, no-transform`, always.
#[tokio::test]
async fn r11_r21_the_headers_of_every_stream_are_exactly_these() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.limits.subscribers_per_address = 1;
    })
    .await?;
    let good = |response: &RawResponse, what: &str| {
        for (name, value) in [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-store, no-transform"),
            ("x-accel-buffering", "no"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "sandbox"),
        ] {
            assert_eq!(response.header_values(name), [value], "{name} of {what}");
        }
        for name in ["content-encoding", "etag", "last-modified", "location", "set-cookie"] {
            assert!(response.header_values(name).is_empty(), "{name} of {what}");
        }
    };
    for version in HTTP_VERSIONS {
        let gone = |open| open == 0.0;
        broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, gone).await?;
        for accept in ["text/event-stream", "*/*", "text/*", "application/json;q=0.5, */*"] {
            let head = broker.request(version, "HEAD", EVENTS, &[("Accept", accept)]).await?;
            good(&head, "HEAD");
        }
        assert_eq!(broker.metric("eventcast_subscribers", &[]).await?, 0.0, "HEAD is none");
        let stream = broker.subscribe(version, "", &[("Last-Event-ID", "x")]).await?;
        good(&stream, "a stream");
        ensure!(stream.header_values("content-length").is_empty(), "a stream has no length");
        ensure!(
            version == Version::Http1 || stream.header_values("connection").is_empty(),
            "RFC 9113"
        );
        good(&broker.subscribe(version, "", &[]).await?, "a soft refusal");
    }
    Ok(())
}

/// R17: an empty `Last-Event-ID` is an absent one; three spellings in the query mean the same; the header wins over the
/// query, and either over `from`.
#[tokio::test]
async fn r17_a_cursor_is_read_from_header_or_query_and_empty_is_absent() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut at = Vec::new();
    for n in 0..5 {
        at.push(broker.publish(n.to_string()).await?);
    }
    for version in HTTP_VERSIONS {
        let first = async |query: String, header: Option<&str>| -> Result<String> {
            let headers: Vec<_> = header.map(|id| ("Last-Event-ID", id)).into_iter().collect();
            let mut stream = broker.subscribe(version, &query, &headers).await?;
            assert!(stream.header_values("eventcast-gap").is_empty(), "{query} {header:?}");
            stream.data().await
        };
        for name in ["lastEventId", "last-event-id", "last_event_id"] {
            assert_eq!(first(format!("?{name}={}", at[1]), None).await?, "2", "{name}");
            let both = format!("?{name}={}&from=earliest", at[1]);
            assert_eq!(first(both.clone(), None).await?, "2", "over from");
            assert_eq!(first(both.clone(), Some("")).await?, "2", "an empty header is absent");
            assert_eq!(first(both, Some(&at[3])).await?, "4", "the header wins");
            assert_eq!(first(format!("?{name}=&from=earliest"), None).await?, "0", "empty");
        }
        assert_eq!(first("?from=earliest".into(), Some("")).await?, "0", "empty is absent");
    }
    Ok(())
}

/// R18: a gap is declared by a response header and by an event in the stream, which `EventSource` can read.
#[tokio::test]
async fn r18_a_gap_is_declared_by_a_header_and_in_band() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.memory.tail_events = 16; // what memory still has would be no gap
        config.channels[0].retention.max_events = 40;
        config.channels[0].access.allowed_origins = vec!["https://app.example.com".into()];
    })
    .await?;
    let oldest = broker.publish("0").await?;
    for n in 1..60 {
        broker.publish(n.to_string()).await?;
    }
    for version in HTTP_VERSIONS {
        let headers = [("Last-Event-ID", &*oldest), ("Origin", "https://app.example.com")];
        let mut stream = broker.subscribe(version, "", &headers).await?;
        assert_eq!(stream.header_values("eventcast-gap"), ["expired"]);
        let exposed = stream.header_values("access-control-expose-headers").join(",");
        ensure!(exposed.contains("eventcast-gap"), "pages that fetch can read it: {exposed}");
        stream.read_retry().await?;
        let gap = stream.next_block().await?;
        let data = gap.lines().find_map(|line| line.strip_prefix("data: ")).context("no data")?;
        let data: serde_json::Value = serde_json::from_str(data)?;
        assert_eq!(data["reason"], "expired");
        assert_eq!((&data["requested"], &data["lost"]), (&json!(oldest), &json!(19)));
        let id = gap.lines().next_back().and_then(|line| line.strip_prefix("id: "));
        assert_eq!(id, data["resumed_at"].as_str(), "the gap moves the cursor");
        ensure!(stream.next_block().await?.starts_with("data: 20\n"), "and delivery goes on");
    }
    Ok(())
}
