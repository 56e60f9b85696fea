//! The credentials of the table, the brokers that judge them, and the requests that carry them.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::{Access, ApiKeys, BrokerConfig, ChannelConfig};
use eventcast_tests::{
    access::make_key,
    broker::{Broker, networks},
    eventually,
    http::{Answer, Publish, Version, client},
    issuer::{Issuer, bearer, request},
    nats::NatsServer,
    ports, process,
    wire::RawResponse,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Carrier::{self, CookieTicket, CookieToken, Key, Ticket, Token},
    Endpoint,
    Expected::{self, Another, Denied, Fine, Invalid, Later, Needed},
    STREAM,
    State::{self, Bad, Expired, Good, Manages, Reads, Revoked, Ungranted, Unjudged, Writes},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
const CHANNEL: &str = "/channels/default/demo";

/// Two brokers, all credentials, and what requests need beside them.
pub(super) struct Fixture {
    broker: Broker,
    /// A broker that has neither keys nor NATS.
    away: Broker,
    /// The credential of each combination.
    credentials: Vec<(State, Carrier, String)>,
    renewal_of_admin: String,
    renewal_of_key: String,
    /// A cursor: tickets are older than a minute before the end of the test, if the machine is slow.
    cursor: String,
    _nats: NatsServer,
    _issuer: Issuer,
    _keys: TempDir,
}

fn access(issuer: &Issuer, keys: &Path) -> Access {
    let api_keys = Some(ApiKeys { folder: keys.into() });
    Access { tokens: vec![issuer.trusted()], api_keys, ..Access::default() }
}

fn configure(access: Access) -> impl FnOnce(&mut BrokerConfig) {
    |config| {
        config.limits.trusted_proxies = networks(["127.0.0.0/8"]);
        config.channels = vec![ChannelConfig { access, ..ChannelConfig::new("default", "demo") }];
    }
}

impl Fixture {
    pub(super) async fn start() -> Result<Self> {
        let (nats, issuer, forger) = (NatsServer::start().await?, Issuer::new()?, Issuer::new()?);
        let folder = process::folder("eventcast-table-")?;
        let (keys, forged) = (folder.path().join("keys"), folder.path().join("forged"));
        std::fs::create_dir(&keys)?;
        std::fs::create_dir(&forged)?;
        let everything = ["--subscribe", ">", "--publish", ">", "--broadcast", "--manage"];
        let of_ann = ["--subscribe", "user.ann", "--publish", "user.ann"];
        let ended = [&everything[..], &["--not-after", "2020-01-01T00:00:00Z"]].concat();
        let key = make_key(&keys, "all", &everything).await?;
        let mut credentials = vec![
            (Good, Key, key.clone()),
            (Ungranted, Key, make_key(&keys, "ann", &of_ann).await?),
            (Writes, Key, make_key(&keys, "writes", &of_ann[2..]).await?),
            (Reads, Key, make_key(&keys, "reads", &of_ann[..2]).await?),
            (Manages, Key, make_key(&keys, "manages", &["--manage"]).await?),
            (Bad, Key, make_key(&forged, "all", &everything).await?),
            (Expired, Key, make_key(&keys, "ended", &ended).await?),
            (Unjudged, Key, key.clone()),
        ];
        let broker = Broker::start(&nats.url(), configure(access(&issuer, &keys))).await?;
        let nowhere = format!("nats://127.0.0.1:{}", ports::reserve(1)?[0]);
        let away = access(&issuer, &folder.path().join("missing"));
        let away = Broker::launch(&nowhere, configure(away)).await?;

        let (admin, ann, revoked) = (issuer.admin(), issuer.user("ann"), issuer.user("gone"));
        let take = async |credential: &str, body: Value| -> Result<(String, String)> {
            let url = broker.url(&format!("{CHANNEL}/tickets"));
            let answer = request("POST", &url, credential, Some(body)).await?;
            let text = |name: &str| answer.json[name].as_str().map(str::to_owned);
            let (ticket, renewal) = (text("ticket"), text("renew"));
            let renewal = renewal.with_context(|| format!("{} {}", answer.status, answer.json))?;
            let renewal = renewal.strip_prefix(CHANNEL).context("another channel")?.to_owned();
            Ok((ticket.context("no ticket")?, renewal))
        };
        let (ticket, renewal_of_admin) = take(&admin, json!({})).await?;
        let (_, renewal_of_key) = take(&key, json!({})).await?;
        let short = take(&admin, json!({"seconds": 1})).await?.0;
        let middle = ticket.len() / 2;
        let swapped = if &ticket[middle..=middle] == "A" { "B" } else { "A" };
        let changed = format!("{}{swapped}{}", &ticket[..middle], &ticket[middle + 1..]);
        for (state, token, ticket) in [
            (State::None, String::new(), String::new()),
            (Good, admin.clone(), ticket.clone()),
            (Ungranted, ann.clone(), take(&ann, json!({})).await?.0),
            (Bad, forger.admin(), changed),
            (Expired, issuer.token("admin", -60, json!({})), short.clone()),
            (Revoked, revoked.clone(), take(&revoked, json!({})).await?.0),
            (Unjudged, admin.clone(), ticket.clone()),
        ] {
            for carrier in [Token, CookieToken] {
                credentials.push((state, carrier, token.clone()));
            }
            for carrier in [Ticket, CookieTicket] {
                credentials.push((state, carrier, ticket.clone()));
            }
        }
        let url = broker.url(&format!("{CHANNEL}/subscribers?subject=gone"));
        let kicked = request("DELETE", &url, &admin, None).await?;
        ensure!(kicked.status == 200, "{} {}", kicked.status, kicked.json);
        let (name, value) = bearer(&admin);
        let event = Publish::new("x").topic("user.ann").header(&name, &value);
        let event = event.send(&client(Version::Http1), &broker.events_url("")).await?;
        let cursor = event.cursor().context("no cursor")?.to_owned();
        eventually("the short ticket has ended", WAIT_TIMEOUT, || async {
            let url = broker.url(&format!("{CHANNEL}/access?ticket={short}"));
            let answer = Answer::read(client(Version::Http1).get(url).send().await?).await?;
            ensure!(answer.json["check"] == "expired", "{}", answer.json);
            Ok(())
        })
        .await?;
        eventually("the broker without NATS answers", WAIT_TIMEOUT, || async {
            let alive = client(Version::Http1).get(away.admin_url("/livez")).send().await?;
            ensure!(alive.status() == 200, "{}", alive.status());
            Ok(())
        })
        .await?;
        let (_nats, _issuer, _keys) = (nats, issuer, folder);
        Ok(Self {
            broker,
            away,
            credentials,
            renewal_of_admin,
            renewal_of_key,
            cursor,
            _nats,
            _issuer,
            _keys,
        })
    }

    fn credential(&self, state: State, carrier: Carrier) -> Result<&str> {
        let mut all = self.credentials.iter();
        let found = all.find(|(s, c, _)| (*s, *c) == (state, carrier));
        Ok(&found.with_context(|| format!("no credential: {state:?} {carrier:?}"))?.2)
    }

    /// Sends the request, and returns what is wrong with the response.
    pub(super) async fn check(
        &self,
        version: Version,
        endpoint: &Endpoint,
        (state, carrier): (State, Carrier),
        expected: Expected,
    ) -> Result<()> {
        let broker = if state == Unjudged { &self.away } else { &self.broker };
        let address = broker.address();
        let credential = self.credential(state, carrier)?;
        let topic = if state == Ungranted { "user.bob" } else { "user.ann" };
        let is_own_of_key = (state, carrier) == (Good, Key);
        let renewal = if is_own_of_key { &self.renewal_of_key } else { &self.renewal_of_admin };
        let fill = |text: &str| text.replace("TOPIC", topic).replace("RENEWAL", renewal);
        let path = fill(endpoint.path);
        let mark = if path.contains('?') { '&' } else { '?' };
        let query = match carrier {
            Ticket if state != State::None => format!("{mark}ticket={credential}"),
            CookieToken | CookieTicket => format!("{mark}credentials=cookie"),
            Token | Key | Ticket => String::new(),
        };
        let target = format!("{CHANNEL}{path}{query}");
        // Another client each time: clients that were refused often are not answered.
        let client = format!("10.{}.{}.{}", fastrand::u8(..), fastrand::u8(..), fastrand::u8(..));
        let origin = format!("http://{address}");
        let (bearer, cookie) =
            (format!("Bearer {credential}"), format!("__Host-eventcast={credential}"));
        let mut headers = vec![
            ("X-Forwarded-For", &*client),
            ("Accept", endpoint.accept),
            ("Last-Event-ID", &*self.cursor),
        ];
        if endpoint.method == "POST" {
            headers.push(("Content-Type", endpoint.content_type));
        }
        match carrier {
            _ if state == State::None => {}
            Token | Key => headers.push(("Authorization", &*bearer)),
            CookieToken | CookieTicket => headers.push(("Cookie", &*cookie)),
            Ticket => {}
        }
        if matches!(carrier, CookieToken | CookieTicket) && endpoint.method != "GET" {
            headers.push(("Origin", &*origin));
        }
        let body = fill(endpoint.body).into_bytes();
        let response =
            RawResponse::request(version, address, endpoint.method, &target, &headers, &body);
        let response = response.await?;
        let text = check_response(response, endpoint, expected).await?;
        let secret = credential.get(credential.len().saturating_sub(30)..).unwrap_or_default();
        ensure!(secret.is_empty() || !text.contains(secret), "it shows the credential: {text}");
        Ok(())
    }
}

/// Checks a response, and returns its text.
async fn check_response(
    mut response: RawResponse,
    endpoint: &Endpoint,
    expected: Expected,
) -> Result<String> {
    let head = format!("{:?}", response.head);
    let challenge: Vec<String> =
        response.header_values("www-authenticate").into_iter().map(str::to_owned).collect();
    let (status, name, check, wanted_challenge) = match expected {
        Fine => {
            ensure!(response.head.status == endpoint.success, "not {}: {head}", endpoint.success);
            ensure!(challenge.is_empty(), "{challenge:?}");
            let body = if endpoint.accept == STREAM {
                response.read_until(b"\n\n").await?
            } else {
                response.read_to_end().await?
            };
            return Ok(head + &String::from_utf8_lossy(&body));
        }
        Later if endpoint.accept == STREAM => {
            ensure!(response.head.status == 200, "{head}");
            let (reason, _) = response.read_closing().await?;
            ensure!(reason == "unavailable" && challenge.is_empty(), "{reason} {challenge:?}");
            return Ok(head);
        }
        Later => {
            ensure!(!response.header_values("retry-after").is_empty(), "not told when: {head}");
            (503, "unavailable", Value::Null, None)
        }
        Needed => (401, "credential-required", Value::Null, Some("Bearer")),
        Invalid(check) => {
            (401, "invalid-credential", json!(check), Some("Bearer error=\"invalid_token\""))
        }
        Denied => (403, "not-granted", Value::Null, Some("Bearer error=\"insufficient_scope\"")),
        Another => (403, "another-client", Value::Null, None),
    };
    let problem = response.expect_problem(status).await?;
    let kind = (&problem["type"], &problem["check"]);
    let wanted = (&json!(format!("urn:eventcast:problem:{name}")), &check);
    ensure!(kind == wanted, "not {name} {check}: {problem}");
    ensure!(challenge == Vec::from_iter(wanted_challenge), "{challenge:?}");
    Ok(head + &problem.to_string())
}
