//! The recipes of docs/ACCESS.md: each configuration is taken from the document and does what the text says.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{
    channel::{EventChannelSpec, access::AccessSpec},
    config::{Access, ApiKeys, TokenIssuer},
};
use eventcast_tests::{
    broker::{Broker, Cli},
    http::{Answer, Publish, Version, client},
    init_tracing,
    issuer::{Issuer, bearer, request, subscribe},
    nats::NatsServer,
    process,
    sse::EventStream,
    tls::{KeyFiles, authority_pem},
};
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(5);
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ACCESS.md");

/// The `access` of the recipe with this heading.
fn recipe(heading: &str) -> Result<AccessSpec> {
    Ok(spec_below(DOCUMENT, &format!("### {heading}\n"))?.access)
}

/// The first part of a spec below a heading of a document.
fn spec_below(document: &str, heading: &str) -> Result<EventChannelSpec> {
    let section = section(document, heading)?;
    let (_, yaml) = section.split_once("```yaml\n").context("no configuration")?;
    let yaml = yaml.split("```").next().unwrap_or_default();
    Ok(serde_saphyr::from_str(yaml)?)
}

fn section(document: &str, heading: &str) -> Result<String> {
    let text = std::fs::read_to_string(document)?;
    let (_, section) = text.split_once(heading).context("no such heading")?;
    Ok(section.split("\n#").next().unwrap_or_default().to_owned())
}

/// The commands below a heading of the document that run this program.
fn commands(heading: &str, program: &str) -> Result<Vec<String>> {
    let section = section(DOCUMENT, &format!("### {heading}\n"))?;
    let lines = section.lines().filter_map(|line| line.strip_prefix("$ "));
    let found: Vec<_> = lines.filter(|line| line.starts_with(program)).map(str::to_owned).collect();
    ensure!(!found.is_empty(), "no {program}");
    Ok(found)
}

/// Runs shell commands, each of which must succeed, and returns what they print.
async fn shell(folder: &std::path::Path, commands: &[String]) -> Result<String> {
    let sh = process::find_on_path("sh").context("no sh")?;
    let script = format!("cd '{}'\n{}", folder.display(), commands.join("\n"));
    let mut process = process::Process::spawn("sh", &sh, &["-ec", &script], folder)?;
    let status = process.wait_exit(WAIT).await?;
    ensure!(status.success(), "{commands:?}: {}", process.stderr());
    Ok(process.stdout())
}

/// What the operator makes of a recipe, with keys of `issuer` in place of those in the Secret.
fn config(spec: &AccessSpec, issuer: &Issuer) -> Access {
    let trusted = issuer.trusted();
    let tokens = spec.tokens.iter().map(|token| TokenIssuer {
        subscribe: token.subscribe.clone(),
        publish: token.publish.clone(),
        manage: None,
        grants_claim: None,
        ..trusted.clone()
    });
    Access {
        anonymous: spec.anonymous.clone(),
        anonymous_topics: spec.anonymous_topics.clone(),
        tokens: tokens.collect(),
        certificates: spec.certificates.clone(),
        allowed_origins: spec.allowed_origins.clone(),
        allow_credentials: spec.allow_credentials,
        ..Access::default()
    }
}

async fn start(heading: &str) -> Result<(NatsServer, Issuer, Broker)> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let access = config(&recipe(heading)?, &issuer);
    let broker = Broker::start(&nats.url(), |config| config.channels[0].access = access).await?;
    Ok((nats, issuer, broker))
}

async fn store(nats: &NatsServer, topic: Option<&str>, data: &'static str) -> Result<()> {
    let subject =
        topic.map_or("sse.default.demo.all".into(), |t| format!("sse.default.demo.t.{t}"));
    let client = nats.client().await?;
    client.publish(subject, data.into()).await?;
    client.flush().await.context("flushing")
}

#[tokio::test]
async fn a_public_feed_with_private_topics() -> Result<()> {
    let (nats, issuer, broker) = start("A public feed with private topics").await?;
    let mut open = EventStream::connect(&broker.events_url(""), None).await?;
    let mut ann = subscribe(&broker.events_url(""), &issuer.user("ann"), Version::Http1).await?;
    store(&nats, Some("user.ann"), "private").await?;
    store(&nats, Some("public.news"), "news").await?;
    ensure!(open.next_data(WAIT).await?.data == "news", "everyone");
    ensure!(ann.next_data(WAIT).await?.data == "private", "ann");
    ensure!(ann.next_data(WAIT).await?.data == "news", "ann too");
    Ok(())
}

#[tokio::test]
async fn users_of_an_identity_provider() -> Result<()> {
    let (_nats, issuer, broker) = start("Users of an identity provider").await?;
    let token = issuer.token("auth0|a.b", 600, json!({"groups": ["blue", "red"]}));
    let access = request("GET", &broker.url("/channels/default/demo/access"), &token, None).await?;
    let topics = json!(["user.auth0|a%2Eb", "team.blue.>", "team.red.>"]);
    ensure!(access.json["subscribe"]["topics"] == topics, "{}", access.json);
    ensure!(access.json["publish"]["source"] == "/users/auth0|a.b", "{}", access.json);
    // As the page of the recipe does: a ticket, then EventSource.
    let tickets = broker.url("/channels/default/demo/tickets");
    let taken = request("POST", &tickets, &token, None).await?;
    let url = broker.url(taken.json["url"].as_str().unwrap_or_default());
    let mut stream = EventStream::connect(&url, None).await?;
    let (name, value) = bearer(&token);
    let note = Publish::new("hi").topic("user.auth0|a%2Eb").kind("note.new").header(&name, &value);
    let answer = note.send(&client(Version::Http1), &broker.events_url("")).await?;
    ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
    ensure!(stream.next_data(WAIT).await?.data == "hi", "through its ticket");
    let other =
        Publish::new("hi").topic("user.auth0|a%2Eb").kind("order.new").header(&name, &value);
    let refused = other.send(&client(Version::Http1), &broker.events_url("")).await?;
    ensure!(refused.status == 403, "another type: {} {}", refused.status, refused.json);
    Ok(())
}

/// The key that `eventcast-broker key` prints, and a folder with its entry.
async fn api_key(arguments: &[&str]) -> Result<(tempfile::TempDir, String)> {
    let arguments = [&["key"], arguments].concat();
    let printed = Cli::new(&arguments).output(WAIT).await?;
    ensure!(printed.status.success(), "{}", printed.stderr);
    let key = printed.stdout.split_whitespace().find(|word| word.starts_with("evk_"));
    let key = key.context("no key was printed")?.trim_matches(['"', '\'']).to_owned();
    let entry = printed.stdout.lines().find(|line| line.contains("sha256"));
    let (id, entry) = entry.and_then(|line| line.trim().split_once(": ")).context("no entry")?;
    let folder = process::folder("eventcast-keys-")?;
    std::fs::write(folder.path().join(id.trim()), entry.trim_matches('\''))?;
    Ok((folder, key))
}

#[tokio::test]
async fn a_backend_with_sessions() -> Result<()> {
    init_tracing();
    ensure!(
        recipe("A backend with sessions, and no tokens anywhere")?.api_keys.is_some(),
        "recipe"
    );
    let command =
        ["--id", "backend", "--manage", "--subscribe", ">", "--publish", ">", "--broadcast"];
    ensure!(
        std::fs::read_to_string(DOCUMENT)?
            .contains("key --id backend --manage --subscribe '>' --publish '>' --broadcast"),
        "the command"
    );
    let (folder, key) = api_key(&command).await?;
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        let folder = folder.path().to_owned();
        config.channels[0].access.anonymous = Vec::new();
        config.channels[0].access.api_keys = Some(ApiKeys { folder });
    })
    .await?;
    let body = json!({"subject": "42", "topics": ["user.42"], "seconds": 600});
    let tickets = broker.url("/channels/default/demo/tickets");
    let taken = request("POST", &tickets, &key, Some(body)).await?;
    ensure!(taken.status == 201, "{} {}", taken.status, taken.json);
    let url = broker.url(taken.json["url"].as_str().unwrap_or_default());
    let mut page = EventStream::connect(&url, None).await?;
    store(&nats, Some("user.7"), "not theirs").await?;
    store(&nats, Some("user.42"), "theirs").await?;
    ensure!(page.next_data(WAIT).await?.data == "theirs", "the user's own");
    let out = broker.url("/channels/default/demo/subscribers?subject=42");
    let logout = request("DELETE", &out, &key, None).await?;
    ensure!(logout.json["closed"] == 1, "{} {}", logout.status, logout.json);
    let closing = page.next_of("eventcast.closing", WAIT).await?;
    ensure!(closing.data.contains("revoked"), "{}", closing.data);
    ensure!(EventStream::connect(&url, page.cursor()).await.is_err(), "the ticket is refused");
    Ok(())
}

#[tokio::test]
async fn services_and_devices_with_certificates() -> Result<()> {
    init_tracing();
    let heading = "Services and devices with certificates";
    let spec = spec_below(DOCUMENT, &format!("### {heading}\n"))?;
    let tls = spec.exposure.tls.context("TLS")?;
    ensure!(tls.client_ca_secret.is_some_and(|secret| secret.key == "ca.crt"), "the Secret");
    ensure!(commands(heading, "kubectl")?[0].contains("--from-file=ca.crt"), "its key");
    let folder = process::folder("eventcast-recipe-")?;
    let folder = folder.path();
    shell(folder, &commands(heading, "openssl")?).await?;
    let mut files = KeyFiles::new()?;
    files.write_clients(Some(&std::fs::read_to_string(folder.join("ca.crt"))?))?;
    std::fs::write(folder.join("brokers.crt"), authority_pem())?;
    let nats = NatsServer::start().await?;
    let access = config(&spec.access, &Issuer::new()?);
    let broker = Broker::start(&nats.url(), |config| {
        config.tls = Some(files.config());
        config.channels[0].access = access;
    })
    .await?;
    let url = format!("https://{}/channels/default/demo", broker.secure_address());
    let export = format!("export CHANNEL={url} CURL_CA_BUNDLE=brokers.crt no_proxy=127.0.0.1");
    let told = shell(folder, &[&[export][..], &commands(heading, "curl")?].concat()).await?;
    let told: Value = serde_json::from_str(&told)?;
    ensure!(told["way"] == "certificate", "{told}");
    ensure!(told["subject"] == "m-7.devices.example.com", "{told}");
    let topics = json!(["device.m-7%2Edevices%2Eexample%2Ecom"]);
    ensure!(told["subscribe"]["topics"] == topics && told["publish"]["topics"] == topics, "{told}");
    Ok(())
}

#[tokio::test]
async fn a_publisher_outside_the_cluster() -> Result<()> {
    init_tracing();
    ensure!(recipe("A publisher outside the cluster")?.api_keys.is_some(), "recipe");
    ensure!(
        std::fs::read_to_string(DOCUMENT)?
            .contains("key --id orders --publish 'order.>' --types 'order.>'"),
        "the command"
    );
    let (folder, key) =
        api_key(&["--id", "orders", "--publish", "order.>", "--types", "order.>"]).await?;
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        let folder = folder.path().to_owned();
        config.channels[0].access.anonymous = Vec::new();
        config.channels[0].access.api_keys = Some(ApiKeys { folder });
    })
    .await?;
    let (name, value) = bearer(&key);
    for (topic, kind, status) in
        [("order.7", "order.paid", 201), ("order.7", "note", 403), ("user.1", "order.paid", 403)]
    {
        let event = Publish::new("x").topic(topic).kind(kind).header(&name, &value);
        let answer = event.send(&client(Version::Http1), &broker.events_url("")).await?;
        ensure!(answer.status == status, "{topic} {kind}: {} {}", answer.status, answer.json);
    }
    ensure!(request("GET", &broker.events_url(""), &key, None).await?.status == 403, "no reading");
    Ok(())
}

#[tokio::test]
async fn a_cookie_on_a_sibling_host() -> Result<()> {
    let (_nats, issuer, broker) = start("A cookie on a sibling host").await?;
    let http = client(Version::Http1);
    let take =
        http.post(broker.url("/channels/default/demo/tickets")).bearer_auth(issuer.user("ann"));
    let take =
        take.header("Origin", "https://app.example.com").header("Sec-Fetch-Site", "same-site");
    let taken = take.body(json!({"as": "cookie"}).to_string()).send().await?;
    ensure!(taken.status() == 204, "{}", taken.status());
    let allowed = taken.headers().get("access-control-allow-credentials");
    ensure!(allowed.is_some_and(|value| value == "true"), "the page may keep it");
    let cookie = taken.headers().get("set-cookie").context("no cookie")?.to_str()?.to_owned();
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let get = http.get(broker.url("/channels/default/demo/access?credentials=cookie"));
    let used =
        get.header("Cookie", cookie).header("Origin", "https://app.example.com").send().await?;
    let used: Value = Answer::read(used).await?.json;
    ensure!(used["way"] == "ticket" && used["subject"] == "ann", "{used}");
    Ok(())
}
