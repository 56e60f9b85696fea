//! NATS as platforms set it up: a JetStream domain, a user that may use nothing but what the documents list, replies below a prefix of its
//! own, and TLS before the greeting.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::Nats;
use eventcast_tests::{
    broker::Broker,
    http::{Version, client, publish},
    init_tracing,
    nats::NatsServer,
    process,
    sse::EventStream,
    tls::{KeyFiles, authority_pem},
};

const PASSWORD: &str = "pw-of-the-shop";
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_domain_a_prefix_of_replies_and_tls_before_the_greeting() -> Result<()> {
    init_tracing();
    let (folder, keys) = (process::folder("eventcast-nats-options-")?, KeyFiles::new()?);
    let (ca, password) = (folder.path().join("ca.crt"), folder.path().join("password"));
    std::fs::write(&ca, authority_pem())?;
    std::fs::write(&password, PASSWORD)?;
    let tls = keys.config();
    // A server of the domain checks the permissions of what it maps `$JS.hub.API.>` to.
    let permissions = r#"{publish: {allow: ["$JS.API.>", "$JS.FC.>", "sse.>"]}, subscribe: {allow: ["_INBOX_shop.>"]}}"#;
    let more = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, handshake_first: true }}\n\
         authorization {{ users: [{{user: shop, password: {PASSWORD:?}, permissions: {permissions}}}] }}",
        tls.certificate_file, tls.key_file
    );
    let nats = NatsServer::launch_with("domain: hub", &more)?;
    let start = |change: fn(&mut Nats)| {
        let (url, ca, password) = (nats.url().replace("nats://", "tls://"), &ca, &password);
        async move {
            Broker::launch(&url, |config| {
                config.nats.user = Some("shop".into());
                config.nats.password_file = Some(password.clone());
                config.nats.ca_file = Some(ca.clone());
                config.nats.domain = Some("hub".into());
                config.nats.inbox_prefix = Some("_INBOX_shop".into());
                config.nats.tls_first = true;
                change(&mut config.nats);
            })
            .await
        }
    };
    let mut broker = start(|_| {}).await?;
    broker.ready(WAIT_TIMEOUT).await?;
    let url = broker.events_url("");
    let answer = publish(&url, "hello", &[("topic", "user.1")]).await?;
    let cursor = answer.cursor().with_context(|| format!("{answer:?}"))?;
    let mut stream = EventStream::connect(&broker.events_url("from=earliest"), None).await?;
    assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "hello");
    // The requests that do not go through the client's JetStream context: a page of the log, and an erasure.
    let history = client(Version::Http1).get(&url).header("Accept", "application/json");
    let history = history.send().await?.text().await?;
    ensure!(history.contains("hello"), "{history}");
    let event = broker.url(&format!("/channels/default/demo/events/{cursor}"));
    let erased = client(Version::Http1).delete(event).send().await?;
    ensure!(erased.status().is_success(), "{erased:?}");

    // With another domain, or without the others, the broker does not get ready.
    for (what, change) in [
        ("the domain", (|nats| nats.domain = Some("spoke".into())) as fn(&mut Nats)),
        ("the prefix", |nats| nats.inbox_prefix = None),
        ("TLS first", |nats| nats.tls_first = false),
    ] {
        let mut without = start(change).await?;
        ensure!(without.ready(Duration::from_secs(3)).await.is_err(), "ready without {what}");
    }
    Ok(())
}
