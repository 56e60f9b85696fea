//! The recipe for Rust of `docs/CLIENTS.md`, word for word.

use std::error::Error;

use eventsource_client::{Client as _, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt as _;
use launchdarkly_sdk_transport::HyperTransport;

pub(crate) async fn follow(
    url: &str,
    mut on_event: impl FnMut(&str, &str),
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let client = ClientBuilder::for_url(url)?
        .reconnect(ReconnectOptions::default())
        .build_with_transport(HyperTransport::builder().build_http()?);
    let mut stream = client.stream();
    while let Some(item) = stream.next().await {
        match item {
            Ok(SSE::Event(event)) if event.event_type.starts_with("eventcast.") => {}
            Ok(SSE::Event(event)) => on_event(&event.event_type, &event.data),
            Ok(_) => {}
            Err(error) => eprintln!("{error}"), // it reconnects, unless the status says otherwise
        }
    }
    Ok(())
}
