//! The protocol against hand-written frames. The suites of `tests/wire` check it with clients.

use std::{io::IoSlice, task::Waker};

use bytes::Bytes;
use http::response::Parts;
use hyper::body::Body as _;
use proptest::prelude::*;

use super::{receive::MAX_RESETS, *};
use crate::http2::writer::MAX_FRAME;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// A field block of literals.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let string =
        |s: &str| [&[u8::try_from(s.len()).expect("a short string")], s.as_bytes()].concat();
    fields
        .iter()
        .flat_map(|(name, value)| [vec![0], string(name), string(value)].concat())
        .collect()
}

fn request(stream: u32, ends: bool, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo =
        [(":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", "/x?y")];
    let fields = [&pseudo[..], more].concat();
    frame(HEADERS, 4 | u8::from(ends), stream, &block(&fields))
}

fn connection() -> Connection<u32> {
    let mut connection = Connection::new(16 << 10, Waker::noop().clone());
    let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    connection.receive(&greeting).expect("a greeting");
    drop(written(&mut connection));
    connection
}

/// The frames that were written: kind, flags, stream, payload.
fn written(connection: &mut Connection<u32>) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let (out, mut frames) = (connection.unsent().to_vec(), Vec::new());
    connection.sent(out.len());
    let mut rest = &out[..];
    while let [a, b, c, kind, flags, s0, s1, s2, s3, after @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
        frames.push((*kind, *flags, stream, after[..length].to_vec()));
        rest = &after[length..];
    }
    frames
}

fn kinds(connection: &mut Connection<u32>) -> Vec<(u8, u32)> {
    written(connection).into_iter().map(|(kind, _, stream, _)| (kind, stream)).collect()
}

/// Opens a stream and gives it its number as attachment.
fn open(connection: &mut Connection<u32>, stream: u32) -> Box<Request<Body>> {
    connection.receive(&request(stream, true, &[])).expect("a request");
    let Some(Event::Request(id, request)) = connection.take_events().pop() else {
        panic!("no request")
    };
    assert_eq!((id, connection.attach(id, stream)), (stream, None));
    request
}

fn ok() -> Parts {
    http::Response::new(()).into_parts().0
}

fn write(connection: &mut Connection<u32>, stream: u32, bytes: usize) -> Option<usize> {
    let bytes = vec![b'x'; bytes];
    connection.write(stream, &[IoSlice::new(&bytes)], bytes.len())
}

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn writable(connection: &mut Connection<u32>) -> Vec<u32> {
    let id = |event| match event {
        Event::Writable(id) => id,
        Event::Request(id, _) => panic!("a request {id}"),
        Event::Ended(id) => panic!("the end of {id}"),
    };
    connection.take_events().into_iter().map(id).collect()
}

#[test]
fn a_request_is_answered() {
    let mut connection = connection();
    let request = open(&mut connection, 1);
    assert_eq!(request.uri(), "http://a.example/x?y");
    assert!(request.body().is_end_stream());
    connection.respond(1, &ok(), Bytes::from_static(b"hello"));
    let frames = written(&mut connection);
    assert_eq!(frames[0], (HEADERS, 4, 1, vec![0x20, 0x88]));
    assert_eq!(frames[1..], [(DATA, 1, 1, b"hello".to_vec())]);
    assert!(matches!(connection.take_events()[..], [Event::Ended(1)]));
    assert!(!connection.has_streams());
}

#[test]
fn streams_write_within_their_windows_and_that_of_the_connection() {
    let mut connection = connection();
    for stream in [1, 3, 5] {
        open(&mut connection, stream);
        assert!(connection.begin_response(stream, &ok()));
    }
    drop(written(&mut connection));
    assert_eq!(write(&mut connection, 1, 60_000), Some(60_000));
    drop(written(&mut connection));
    assert_eq!(write(&mut connection, 3, 60_000), Some(5535), "the window of the connection");
    drop(written(&mut connection));
    connection.receive(&window_update(0, 100_000)).expect("a window");
    assert_eq!(writable(&mut connection), [3]);
    assert_eq!(write(&mut connection, 1, 10_000), Some(5535), "the window of the stream");
    drop(written(&mut connection));
    connection.receive(&window_update(3, 1)).expect("a window");
    assert!(writable(&mut connection).is_empty(), "3 waits for nothing");
    // a smaller initial window makes windows negative, a greater one opens them all
    connection.receive(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).expect("settings");
    assert_eq!(writable(&mut connection), [1]);
    assert_eq!(write(&mut connection, 1, 1), Some(0));
    connection.receive(&window_update(1, 65_535)).expect("a window");
    assert_eq!(writable(&mut connection), [1]);
    assert_eq!(write(&mut connection, 1, 1), Some(0), "0 of 65535 is left");
    connection.receive(&frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).expect("settings");
    assert_eq!(writable(&mut connection), [1]);
    assert_eq!(write(&mut connection, 1, 1), Some(1));
    let beyond = window_update(1, (1 << 31) - 1);
    connection.receive(&beyond).expect("an error of the stream");
    assert!(kinds(&mut connection).contains(&(RESET, 1)));
    assert!(matches!(connection.take_events()[..], [Event::Ended(1)]));
}

/// Hundreds of streams do not try to write for every byte that a client allows.
#[test]
fn streams_wait_until_the_window_of_the_connection_is_worth_it() {
    let mut connection = connection();
    for stream in [1, 3] {
        open(&mut connection, stream);
        connection.begin_response(stream, &ok());
    }
    drop(written(&mut connection));
    assert_eq!(write(&mut connection, 1, 65_535), Some(65_535));
    drop(written(&mut connection));
    assert_eq!(write(&mut connection, 3, 1), Some(0));
    connection.receive(&window_update(0, 4095)).expect("a window");
    assert!(writable(&mut connection).is_empty());
    connection.receive(&window_update(0, 1)).expect("a window");
    assert_eq!(writable(&mut connection), [3]);
}

#[test]
fn a_stream_waits_for_room_when_nothing_is_written() {
    let mut connection = connection();
    open(&mut connection, 1);
    connection.begin_response(1, &ok());
    connection
        .receive(&[window_update(0, 1 << 20), window_update(1, 1 << 20)].concat())
        .expect("windows");
    assert_eq!(write(&mut connection, 1, MAX_UNSENT), Some(MAX_UNSENT));
    assert!(connection.is_congested());
    assert_eq!(write(&mut connection, 1, 1), Some(0));
    assert!(writable(&mut connection).is_empty());
    connection.sent(MAX_UNSENT);
    assert!(writable(&mut connection).is_empty(), "the headers of frames are left");
    let rest = connection.unsent().len();
    connection.sent(rest);
    assert_eq!(writable(&mut connection), [1]);
}

/// A response ends with the last frame of its body, unless that is written already or another stream has written since.
#[test]
fn a_response_ends_with_its_last_frame() {
    for (other, flushed) in [(false, false), (true, false), (false, true)] {
        let mut connection = connection();
        for stream in [1, 3] {
            open(&mut connection, stream);
            connection.begin_response(stream, &ok());
        }
        drop(written(&mut connection));
        write(&mut connection, 1, MAX_FRAME + 1);
        if other {
            write(&mut connection, 3, 1);
        }
        if flushed {
            drop(written(&mut connection));
        }
        connection.finish(1);
        let ends: Vec<_> = written(&mut connection)
            .into_iter()
            .filter_map(|(_, flags, stream, data)| (flags == 1).then_some((stream, data.len())))
            .collect();
        assert_eq!(ends, [(1, usize::from(!other && !flushed))]);
    }
}

/// What was kept with a stream is returned once, also if the connection ends before its owner has seen the end of the stream.
#[test]
fn nothing_that_is_kept_with_a_stream_is_forgotten() {
    let mut connection = connection();
    for stream in [1, 3, 5] {
        open(&mut connection, stream);
    }
    connection.receive(&frame(RESET, 0, 3, &[0, 0, 0, 8])).expect("a reset");
    let mut kept = connection.take_attachments();
    kept.sort_unstable();
    assert_eq!(kept, [1, 3, 5]);
    assert!(connection.take_attachments().is_empty());
}

#[test]
fn a_body_must_be_as_long_as_it_was_announced() {
    let length = [("content-length", "5")];
    for (data, ends_well) in [(&b"12345"[..], true), (b"1234", false), (b"123456", false)] {
        let mut connection = connection();
        connection.receive(&request(1, false, &length)).expect("a request");
        let events = connection.take_events();
        let [Event::Request(1, request)] = &events[..] else { panic!("no request") };
        connection.receive(&frame(DATA, 1, 1, data)).expect("data");
        assert_eq!(request.body().size_hint().exact(), Some(5));
        assert_eq!(kinds(&mut connection).contains(&(RESET, 1)), !ends_well, "{data:?}");
    }
    for bad in ["", "-1", "+5", "5, 5", "99999999999999999999"] {
        let mut connection = connection();
        connection
            .receive(&request(1, false, &[("content-length", bad)]))
            .expect("an error of the stream");
        assert_eq!(kinds(&mut connection), [(RESET, 1)], "{bad}");
        assert!(connection.take_events().is_empty());
    }
}

#[test]
fn a_body_that_nobody_reads_is_held_back_and_released_with_its_stream() {
    let mut connection = connection();
    let chunk = frame(DATA, 0, 1, &[b'x'; MAX_FRAME]);
    connection.receive(&request(1, false, &[])).expect("a request");
    let events = connection.take_events();
    for _ in 0..(WINDOW as usize / MAX_FRAME) {
        connection.receive(&chunk).expect("within the window");
    }
    assert!(kinds(&mut connection).is_empty(), "no window update");
    assert!(connection.receive(&chunk).is_err(), "beyond the window of the connection");
    drop(events);

    let mut connection = self::connection();
    connection.receive(&request(1, false, &[])).expect("a request");
    let events = connection.take_events();
    (0..40).for_each(|_| connection.receive(&chunk).expect("within the window"));
    connection.respond(1, &ok(), Bytes::new());
    drop(events);
    let frames = kinds(&mut connection);
    assert!(frames.contains(&(WINDOW_UPDATE, 0)), "{frames:?}");
    assert!(frames.contains(&(RESET, 1)), "the client need not send the rest: {frames:?}");
}

#[test]
fn rules_that_a_client_must_not_break() {
    let data = |stream| frame(DATA, 0, stream, b"x");
    let bad: [(&str, Vec<u8>); 8] = [
        ("an even stream", request(2, true, &[])),
        ("data of no stream", data(9)),
        ("a reset of no stream", frame(RESET, 0, 9, &[0; 4])),
        ("a window of no stream", window_update(9, 1)),
        ("a window of nothing", window_update(0, 0)),
        ("a window beyond the greatest", window_update(0, (1 << 31) - 1)),
        ("a push", frame(5, 4, 1, &[0, 0, 0, 2])),
        (
            "empty data without end",
            [request(1, false, &[]), frame(DATA, 0, 1, &[]).repeat(101)].concat(),
        ),
    ];
    for (what, bytes) in bad {
        let mut connection = connection();
        assert!(connection.receive(&bytes).is_err(), "{what}");
        assert_eq!(kinds(&mut connection).last(), Some(&(GO_AWAY, 0)), "{what}");
    }
    let mut connection = Connection::<u32>::new(16 << 10, Waker::noop().clone());
    assert!(connection.receive(b"GET / HTTP/1.1\r\n").is_err(), "no preface");
    let mut connection = Connection::<u32>::new(16 << 10, Waker::noop().clone());
    assert!(
        connection.receive(&[PREFACE, &frame(PING, 0, 0, &[0; 8])].concat()).is_err(),
        "no settings first"
    );
}

#[test]
fn a_client_that_resets_request_after_request_is_cut_off() {
    let mut connection = connection();
    let mut stream = 1;
    let error = loop {
        let bytes = [request(stream, true, &[]), frame(RESET, 0, stream, &[0, 0, 0, 8])].concat();
        if let Err(error) = connection.receive(&bytes) {
            break error;
        }
        stream += 2;
    };
    assert_eq!(error.0, Reason::ENHANCE_YOUR_CALM);
    assert_eq!(stream / 2, MAX_RESETS);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut connection = connection();
    for n in 0..MAX_STREAMS {
        open(&mut connection, 2 * n + 1);
    }
    let next = 2 * MAX_STREAMS + 1;
    connection.receive(&request(next, true, &[])).expect("an error of the stream");
    let refused = (RESET, 0, next, u32::from(Reason::REFUSED_STREAM).to_be_bytes().to_vec());
    assert_eq!(written(&mut connection), [refused]);
}

#[test]
fn requests_that_arrive_before_the_client_knows_of_the_end_are_served() {
    let mut connection = connection();
    open(&mut connection, 1);
    connection.begin_shutdown();
    assert_eq!(kinds(&mut connection), [(GO_AWAY, 0), (PING, 0)]);
    open(&mut connection, 3);
    connection.receive(&frame(PING, 1, 0, &super::PING)).expect("an answer");
    connection.receive(&request(5, true, &[])).expect("ignored");
    connection.receive(&request(7, false, &[])).expect("ignored");
    for frame in [
        window_update(5, 10),
        frame(RESET, 0, 5, &u32::from(Reason::CANCEL).to_be_bytes()),
        frame(DATA, 1, 7, b"body"),
    ] {
        connection.receive(&frame).expect("of a request that is ignored");
    }
    let frames = written(&mut connection);
    assert_eq!(frames, [(GO_AWAY, 0, 0, [&3_u32.to_be_bytes()[..], &[0; 4]].concat())]);
    assert!(connection.take_events().is_empty() && !connection.is_done());
    for stream in [1, 3] {
        connection.respond(stream, &ok(), Bytes::new());
    }
    assert!(connection.is_done());
}

/// Frames of every kind, with right and wrong contents.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let any_frame =
        (0_u8..11, any::<u8>(), 0_u32..8, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    let good = (0_u32..12, any::<bool>()).prop_map(|(n, ends)| request(2 * n + 1, ends, &[]));
    let data = (0_u32..12, 0_u8..2, 0_usize..500)
        .prop_map(|(n, flags, length)| frame(DATA, flags, 2 * n + 1, &vec![7; length]));
    proptest::collection::vec(prop_oneof![1 => any_frame, 3 => good, 2 => data], 0..40)
        .prop_map(|all| all.concat())
}

/// The outcome of receiving bytes in pieces: the frames that the connection writes, the number of its events, and whether it fails.
fn outcome(bytes: &[u8], cuts: &[usize]) -> (Vec<(u8, u32)>, usize, bool) {
    let mut connection = connection();
    let (mut rest, mut failed) = (bytes, false);
    for cut in cuts.iter().cycle() {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        failed = failed || connection.receive(piece).is_err();
        rest = after;
        if rest.is_empty() || failed {
            break;
        }
    }
    let events = connection.take_events().len();
    (kinds(&mut connection), events, failed)
}

proptest! {
    #[test]
    fn the_sizes_of_reads_do_not_matter(bytes in frames(), cuts in proptest::collection::vec(1_usize..50, 1..20)) {
        prop_assert_eq!(outcome(&bytes, &[usize::MAX]), outcome(&bytes, &cuts));
    }
}
