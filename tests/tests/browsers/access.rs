//! Channels that need credentials, in real browsers: the broker's page with tokens and tickets, and cookies in pages of several sites.

use anyhow::{Context as _, Result, bail};
use eventcast_crds::config::Access;
use eventcast_tests::{
    broker::Broker, init_tracing, issuer::Issuer, nats::NatsServer, ports, process, tls::KeyFiles,
};

use super::script::Script;

/// What `access.mjs` goes through.
const PAGE_STEPS: [&str; 10] = [
    "without a token everything is refused, and the page says why",
    "a token that is none is refused, and the page says why",
    "a token opens the stream of its user",
    "every request has the token, and the curl command has its name",
    "the token is kept for this tab alone",
    "a stream may carry a ticket",
    "a renewal keeps the stream",
    "a renewal keeps the stream of a ticket",
    "a stream whose token ends says so before and after",
    "no token was in an address, in the document or in the log",
];

/// What `cookies.mjs` goes through.
const COOKIE_STEPS: [&str; 6] = [
    "a page of the same site reads with a cookie",
    "it resumes after a reconnect",
    "an allowed page of another site reads with a cookie of its own",
    "a foreign page of the same site gets nothing",
    "a foreign page of another site gets nothing",
    "nothing was published, and the first page still reads",
];

/// The key file of an issuer, and the name and audience of its tokens.
pub(super) fn signs(issuer: &Issuer) -> Result<[String; 3]> {
    let trusted = issuer.trusted();
    let file = trusted.key_file.context("the issuer has a key file")?;
    Ok([file.to_string_lossy().into_owned(), trusted.issuer, trusted.audience])
}

async fn the_page_uses_tokens(name: &str) -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-page-")?;
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = Broker::start(&nats.url(), |config| {
        config.page = true;
        let channel = &mut config.channels[0];
        channel.access = Access { tokens: vec![issuer.trusted()], ..Access::default() };
        channel.delivery.retry_milliseconds = 1000;
    })
    .await?;
    let [keys, issuer_name, audience] = signs(&issuer)?;
    let arguments = [&*broker.url(""), &keys, &issuer_name, &audience];
    let mut script = Script::start(name, "access.mjs", &arguments, folder.path())?;
    if let Some(ask) = script.next_ask().await? {
        bail!("what is {ask}?");
    }
    script.took(&PAGE_STEPS)
}

#[tokio::test]
async fn the_page_uses_tokens_in_chromium() -> Result<()> {
    the_page_uses_tokens("browser-chromium").await
}

#[tokio::test]
async fn the_page_uses_tokens_in_firefox() -> Result<()> {
    the_page_uses_tokens("browser-firefox").await
}

async fn cookies_are_for_allowed_pages(name: &str) -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-cookies-")?;
    let (nats, issuer, files) = (NatsServer::start().await?, Issuer::new()?, KeyFiles::new()?);
    let ports = ports::reserve(2)?;
    let [allowed, foreign] = [ports[0], ports[1]].map(|port| port.to_string());
    let tls = files.config();
    let (certificate, key) = (tls.certificate_file.clone(), tls.key_file.clone());
    let mut broker = Broker::start(&nats.url(), |config| {
        config.tls = Some(tls);
        config.tls.iter_mut().for_each(|tls| tls.plaintext = true);
        let channel = &mut config.channels[0];
        channel.delivery.retry_milliseconds = 1000;
        channel.access = Access {
            tokens: vec![issuer.trusted()],
            allowed_origins: ["www.app.test", "partner.test"]
                .map(|host| format!("https://{host}:{allowed}"))
                .into(),
            allow_credentials: true,
            ..Access::default()
        };
    })
    .await?;
    let port = broker.secure_address().rsplit(':').next().context("no port")?.to_owned();
    let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
    let [keys, issuer_name, audience] = signs(&issuer)?;
    let arguments = [
        &*port,
        &broker.url(""),
        &allowed,
        &foreign,
        &certificate,
        &key,
        &keys,
        &issuer_name,
        &audience,
    ];
    let mut script = Script::start(name, "cookies.mjs", &arguments, folder.path())?;
    while let Some(ask) = script.next_ask().await? {
        match &*ask {
            "restart" => broker.restart().await?,
            _ => bail!("what is {ask}?"),
        }
    }
    script.took(&COOKIE_STEPS)
}

#[tokio::test]
async fn cookies_are_for_allowed_pages_in_chromium() -> Result<()> {
    cookies_are_for_allowed_pages("browser-chromium").await
}

#[tokio::test]
async fn cookies_are_for_allowed_pages_in_firefox() -> Result<()> {
    cookies_are_for_allowed_pages("browser-firefox").await
}
