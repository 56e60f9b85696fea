//! The client libraries for Rust, inside the process of the test.

use eventcast_tests::clients::{After, Delivered, Entry, Line};
use eventsource_client::{Client as _, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt as _;
use launchdarkly_sdk_transport::HyperTransport;
use reqwest_eventsource::{Event, EventSource};
use tokio::sync::mpsc::{self, Receiver};

/// More than a test publishes.
const QUEUE: usize = 16_384;

fn entry(name: &str, no_content: &str) -> Entry {
    let [returns, stops] = ["returns", "stops"].map(str::to_owned);
    Entry {
        name: name.to_owned(),
        language: "rust".to_owned(),
        delivers_control: true,
        tells_open: true,
        after: After {
            end: returns.clone(),
            cut: returns.clone(),
            refused: returns,
            client_error: stops.clone(),
            server_error: stops,
            no_content: no_content.to_owned(),
        },
        drops_partial_event: true,
        ..Entry::default()
    }
}

/// `reqwest-eventsource`: keeps the newest `Last-Event-ID` itself, but the first has to go into the query.
pub(crate) fn reqwest(url: &str) -> (Entry, Receiver<Line>) {
    let client = eventcast_tests::http::client(eventcast_tests::http::Version::Http1);
    let mut source = EventSource::new(client.get(url)).expect("a request without a body");
    let (lines, seen) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        while let Some(item) = source.next().await {
            let line = match item {
                Ok(Event::Open) => Line::Open { open: true },
                Ok(Event::Message(event)) => Line::Event(Delivered {
                    id: event.id,
                    event_type: event.event,
                    data: event.data,
                }),
                Err(error) => Line::Error { error: error.to_string() },
            };
            if lines.send(line).await.is_err() {
                return; // the test is over
            }
        }
        drop(lines.send(Line::Closed { closed: true }).await);
    });
    (entry("rust-reqwest-eventsource", "stops"), seen)
}

/// `eventsource-client`: takes 204 for a stream that ended at once.
pub(crate) fn launchdarkly(url: &str, last_event_id: &str) -> (Entry, Receiver<Line>) {
    let transport =
        HyperTransport::builder().disable_proxy().build_http().expect("constant options");
    let builder = ClientBuilder::for_url(url).expect("a URL");
    let client = builder
        .last_event_id(last_event_id.to_owned())
        .reconnect(ReconnectOptions::default())
        .build_with_transport(transport);
    let (lines, seen) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut stream = client.stream();
        while let Some(item) = stream.next().await {
            let line = match item {
                Ok(SSE::Connected(_)) => Line::Open { open: true },
                Ok(SSE::Comment(_)) => continue,
                Ok(SSE::Event(event)) => Line::Event(Delivered {
                    id: event.id.unwrap_or_default(),
                    event_type: event.event_type,
                    data: event.data,
                }),
                Err(error) => Line::Error { error: error.to_string() },
            };
            if lines.send(line).await.is_err() {
                return; // the test is over
            }
        }
        drop(lines.send(Line::Closed { closed: true }).await);
    });
    (entry("rust-eventsource-client", "returns"), seen)
}
