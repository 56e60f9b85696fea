//! 30: the key that tickets are sealed with is replaced every day. A ticket is good until its end on every broker, also after that; one
//! whose key is gone is refused; one whose key cannot be looked up is neither.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use eventcast_crds::{
    config::Access,
    stream::access::{STORED_PREFIX, STREAM},
};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Answer, Version, client},
    init_tracing,
    issuer::{Issuer, publish, request},
    link::Link,
    nats::NatsServer,
    sse::EventStream,
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde_json::{Value, json};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// A new key is used at once by brokers that have begun lately, and after 30 s by others.
const ROTATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a ticket before the nonce: the version, and the day of the key.
const HEAD_BYTES: usize = 5;

async fn broker(url: &str, issuer: &Issuer) -> Result<Broker> {
    Broker::start(url, |config| {
        config.channels[0].access = Access { tokens: vec![issuer.trusted()], ..Access::default() };
    })
    .await
}

async fn ticket(broker: &Broker, issuer: &Issuer) -> Result<String> {
    let url = broker.url("/channels/default/demo/tickets");
    let answer = request("POST", &url, &issuer.user("ann"), None).await?;
    ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
    Ok(answer.json["ticket"].as_str().context("no ticket")?.to_owned())
}

async fn open(broker: &Broker, ticket: &str, cursor: Option<&str>) -> Result<EventStream> {
    EventStream::connect(&broker.events_url(&format!("ticket={ticket}")), cursor).await
}

/// What a broker says to a ticket: the status and the check. The request has a cursor, so that the ticket may be old.
async fn judged(broker: &Broker, ticket: &str, cursor: &str) -> Result<(u16, Value)> {
    let url = broker.url(&format!("/channels/default/demo/access?ticket={ticket}"));
    let get = client(Version::Http1).get(url).header("Last-Event-ID", cursor);
    let answer = Answer::read(get.send().await?).await?;
    Ok((answer.status, answer.json["check"].clone()))
}

fn bytes(ticket: &str) -> Result<Vec<u8>> {
    Ok(URL_SAFE_NO_PAD.decode(ticket.strip_prefix("evt_").context("no ticket")?)?)
}

/// The day of the key that a ticket was sealed with, which is in the clear.
fn day(ticket: &str) -> Result<u32> {
    Ok(u32::from_be_bytes(bytes(ticket)?[1..HEAD_BYTES].try_into()?))
}

/// The keys in the stream that brokers share, as a broker of another day reads and writes them.
struct Keys(async_nats::jetstream::Context);

impl Keys {
    fn subject(day: u32) -> String {
        format!("{STORED_PREFIX}.default.demo.k.{day}")
    }

    async fn get(&self, day: u32) -> Result<[u8; 32]> {
        let stream = self.0.get_stream(STREAM).await?;
        let message = stream.get_last_raw_message_by_subject(&Self::subject(day)).await?;
        let record: Value = serde_json::from_slice(&message.payload)?;
        let key = STANDARD.decode(record["key"].as_str().context("no key")?)?;
        key.try_into().ok().context("not a key of 32 bytes")
    }

    async fn put(&self, day: u32, key: [u8; 32]) -> Result<()> {
        let record = json!({"key": STANDARD.encode(key)}).to_string();
        self.0.publish(Self::subject(day), record.into()).await?.await?;
        Ok(())
    }

    async fn delete(&self, day: u32) -> Result<()> {
        let purged = self.0.get_stream(STREAM).await?.purge().filter(Self::subject(day)).await?;
        ensure!(purged.purged == 1, "{purged:?}");
        Ok(())
    }
}

/// The same ticket, sealed with the key of another day.
fn reseal(ticket: &str, key: [u8; 32], day: u32, other: [u8; 32]) -> Result<String> {
    let cipher = |key: [u8; 32]| {
        UnboundKey::new(&AES_256_GCM, &key).map(LessSafeKey::new).ok().context("no key")
    };
    let additional = |head: &[u8]| Aad::from([head, b"evt_default/demo"].concat());
    let bytes = bytes(ticket)?;
    let (head, rest) = bytes.split_at(HEAD_BYTES);
    let (nonce, sealed) = rest.split_at(NONCE_LEN);
    let nonce: [u8; NONCE_LEN] = nonce.try_into()?;
    let unique = Nonce::assume_unique_for_key;
    let mut text = sealed.to_vec();
    let opened = cipher(key)?.open_in_place(unique(nonce), additional(head), &mut text);
    let mut text = opened.ok().context("the ticket cannot be opened")?.to_vec();
    let head = [&head[..1], &day.to_be_bytes()].concat();
    let sealed =
        cipher(other)?.seal_in_place_append_tag(unique(nonce), additional(&head), &mut text);
    sealed.ok().context("the ticket cannot be sealed")?;
    Ok("evt_".to_owned() + &URL_SAFE_NO_PAD.encode([&head[..], &nonce, &text].concat()))
}

#[tokio::test]
async fn g30_a_ticket_outlives_the_rotation_of_its_key() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let (here, there) = (broker(&nats.url(), &issuer).await?, broker(&nats.url(), &issuer).await?);
    let mut brokers = [here, there];
    let keys = Keys(nats.jetstream().await?);
    let old = ticket(&brokers[0], &issuer).await?;
    let today = day(&old)?;
    let mut stream = open(&brokers[0], &old, None).await?;
    publish(&brokers[1], &issuer, "before").await?;
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "before", "live");

    // As the broker does on which the next day begins first.
    keys.put(today + 1, [7; 32]).await?;
    let mut new = String::new();
    for broker in &brokers {
        new = eventually("new tickets have the new key", ROTATION_TIMEOUT, || async {
            let new = ticket(broker, &issuer).await?;
            ensure!(day(&new)? == today + 1, "still the key of {}", day(&new)?);
            Ok(new)
        })
        .await?;
    }
    publish(&brokers[1], &issuer, "0").await?;
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "0", "the open stream goes on");
    // A client that reconnects as EventSource does, to each broker, also to one that knows the keys from the stream alone.
    let mut number = 0;
    for restart in [false, true] {
        for at in [1, 0] {
            let cursor = stream.cut().context("no cursor")?;
            if restart {
                brokers[at].kill9()?;
                brokers[at].restart().await?;
            }
            number += 1;
            publish(&brokers[at], &issuer, &number.to_string()).await?;
            stream = open(&brokers[at], &old, Some(&cursor)).await?;
            ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == number.to_string(), "{number}");
            open(&brokers[at], &new, Some(&cursor)).await?;
        }
    }

    // A record that has been deleted, and one that is older than the brokers keep keys, though the stream still has it.
    let cursor = stream.cut().context("no cursor")?;
    let key = keys.get(today).await?;
    keys.delete(today + 1).await?;
    let mut aged = Vec::new();
    for (age, good) in [(1, true), (2, true), (3, false), (30, false)] {
        let other = [age; 32];
        keys.put(today - u32::from(age), other).await?;
        aged.push((age, good, reseal(&old, key, today - u32::from(age), other)?));
    }
    for broker in &mut brokers {
        broker.kill9()?;
        broker.restart().await?;
        ensure!(judged(broker, &old, &cursor).await?.0 == 200, "its key is there");
        let gone = (401, json!("unknown-key"));
        ensure!(judged(broker, &new, &cursor).await? == gone, "its key was deleted");
        for (age, good, ticket) in &aged {
            let judged = judged(broker, ticket, &cursor).await?;
            ensure!(
                judged == if *good { (200, Value::Null) } else { gone.clone() },
                "{age} days: {judged:?}"
            );
        }
    }
    Ok(())
}

/// A broker that has not heard of a key, and cannot ask for it, does not know whether a ticket is good.
#[tokio::test]
async fn g30_a_ticket_whose_key_cannot_be_looked_up_is_not_refused() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let link = Link::to(&nats.url()).await?;
    let (ahead, behind) =
        (broker(&nats.url(), &issuer).await?, broker(&link.url(), &issuer).await?);
    let keys = Keys(nats.jetstream().await?);
    let old = ticket(&ahead, &issuer).await?;
    let today = day(&old)?;
    let mut stream = open(&behind, &old, None).await?;
    publish(&ahead, &issuer, "one").await?;
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "one", "live");
    link.cut();
    keys.put(today + 1, [7; 32]).await?;
    let new = reseal(&old, keys.get(today).await?, today + 1, [7; 32])?;
    let cursor = stream.cut().context("no cursor")?;
    ensure!(judged(&ahead, &new, &cursor).await?.0 == 200, "where the key is known");
    for _ in 0..2 {
        ensure!(judged(&behind, &new, &cursor).await? == (503, Value::Null), "told to come later");
    }
    let mut told = open(&behind, &new, Some(&cursor)).await?;
    let closing = told.next_of("eventcast.closing", WAIT_TIMEOUT).await?.json()?;
    ensure!(closing["reason"] == "unavailable" && told.retry().is_some(), "{closing}");
    ensure!(judged(&behind, &old, &cursor).await?.0 == 200, "what is known holds");
    publish(&ahead, &issuer, "two").await?;
    link.mend();
    let mut stream = eventually("the broker has the key", WAIT_TIMEOUT * 2, || async {
        let mut stream = open(&behind, &new, Some(&cursor)).await?;
        let first = stream.next_within(WAIT_TIMEOUT).await?;
        ensure!(first.event_type == "eventcast.cursor", "{first:?}");
        Ok(stream)
    })
    .await?;
    ensure!(stream.next_data(WAIT_TIMEOUT).await?.data == "two", "nothing was missed");
    Ok(())
}
