//! Keys of token issuers from URLs: servers that fail, rotate, flood or lead elsewhere.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{
    broker_status::{self, AccessProblem, AccessReason, BrokerStatus},
    config::{Action, TokenIssuer},
};
use eventcast_tests::{
    access::{
        ISSUER, KeyServer, OidcProvider, Reply, SigningKey, claims, claims_with, issuer,
        judge_token, only, start_with,
    },
    broker::{Broker, networks},
    eventually,
    http::{Version, client},
    nats::NatsServer,
    wire::{EVENTS, HTTP_VERSIONS, RawResponse},
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

const WAIT_TIMEOUT: Duration = Duration::from_secs(25);

/// An issuer whose keys are those of `server`.
fn fetched(server: &KeyServer) -> TokenIssuer {
    TokenIssuer { jwks_url: Some(server.url()), ca_file: Some(server.ca_file()), ..issuer() }
}

/// A broker that is not ready, because it waits for keys.
async fn launch(nats: &NatsServer, issuers: Vec<TokenIssuer>) -> Result<Broker> {
    Broker::launch(&nats.url(), |config| {
        config.limits.trusted_proxies = networks(["127.0.0.0/8"]);
        config.channels[0].access = only(issuers);
    })
    .await
}

async fn problems(broker: &Broker) -> Result<Vec<AccessProblem>> {
    let url = broker.admin_url(broker_status::PATH);
    let answer = client(Version::Http1).get(url).send().await?;
    let status: BrokerStatus = serde_json::from_slice(&answer.bytes().await?)?;
    Ok(status.channel("default/demo").context("no channel")?.access.clone())
}

async fn expect(broker: &Broker, token: &str, wanted: (u16, &str)) -> Result<()> {
    let (status, check) = judge_token(broker.address(), Version::Http1, token).await?;
    ensure!((status, &*check) == wanted, "{status} {check}");
    Ok(())
}

async fn becomes_good(broker: &Broker, token: &str) -> Result<()> {
    eventually("the token is accepted", WAIT_TIMEOUT, || expect(broker, token, (200, "ann"))).await
}

/// Tests 13, 15 and 16: while keys cannot be had, nothing is judged, the reason is reported without anything of the answer, and it
/// heals.
#[tokio::test]
async fn t13_t15_t16_keys_that_cannot_be_loaded_are_reported_and_heal() -> Result<()> {
    let key = SigningKey::es256("k");
    let elsewhere = KeyServer::start(Reply::keys(&[&key])).await?;
    let secret = SigningKey::hs256("k", &[7; 32]);
    let cases = [
        (Reply::Status(500), AccessReason::KeysUnreachable, "status 500"),
        (Reply::Html, AccessReason::KeysInvalid, "not a JWK set"),
        (Reply::Keys(json!({"keys": []})), AccessReason::KeysInvalid, "no key"),
        (Reply::keys(&[&secret]), AccessReason::KeysInvalid, "no key"),
        (Reply::TooMany, AccessReason::KeysInvalid, "256 KiB"),
        (Reply::Endless, AccessReason::KeysInvalid, "256 KiB"),
        (Reply::Redirect(elsewhere.url()), AccessReason::KeysUnreachable, "redirect"),
        (
            Reply::Redirect("http://169.254.169.254/latest/meta-data".into()),
            AccessReason::KeysUnreachable,
            "redirect",
        ),
        (Reply::Slow, AccessReason::KeysUnreachable, "no answer within 5s"),
    ];
    let (mut servers, mut issuers) = (Vec::new(), Vec::new());
    for (i, (reply, ..)) in cases.iter().enumerate() {
        let server = KeyServer::start(reply.clone()).await?;
        issuers.push(TokenIssuer { issuer: format!("{ISSUER}{i}"), ..fetched(&server) });
        servers.push(server);
    }
    let unusable = [
        ("https://169.254.169.254/keys", "link-local"),
        ("https://[fe80::1]/keys", "link-local"),
        ("https://[::ffff:169.254.169.254]/keys", "link-local"),
        ("https://100.100.100.200/keys", "link-local"),
        ("https://localhost:1/keys", "cannot connect"),
        ("https://keys.invalid/keys", "cannot be resolved"),
        (&*servers[0].url(), "not trusted"),
    ];
    for (i, (url, _)) in unusable.iter().enumerate() {
        let issuer = format!("{ISSUER}unusable/{i}");
        let url = Some((*url).to_owned());
        issuers.push(TokenIssuer { issuer, jwks_url: url, ..eventcast_tests::access::issuer() });
    }
    let nats = NatsServer::start().await?;
    let broker = launch(&nats, issuers).await?;
    let wanted = cases
        .iter()
        .map(|(_, reason, detail)| (*reason, *detail))
        .chain(unusable.iter().map(|(_, detail)| (AccessReason::KeysUnreachable, *detail)));
    let wanted: Vec<_> = wanted.collect();
    eventually("each problem is reported", WAIT_TIMEOUT, || async {
        let found = problems(&broker).await?;
        ensure!(found.len() == wanted.len(), "{found:?}");
        for (problem, (reason, detail)) in found.iter().zip(&wanted) {
            let is_expected = problem.reason == *reason && problem.detail.contains(detail);
            ensure!(is_expected, "{problem:?} instead of {reason:?} {detail}");
            ensure!(!problem.detail.contains("secret"), "{problem:?}");
        }
        Ok(())
    })
    .await?;
    assert_eq!(elsewhere.fetches(), 0, "a redirect was followed");
    ensure!(!broker.log().contains("secret of the server"), "the answer is in the log");

    let ready = client(Version::Http1).get(broker.admin_url("/readyz")).send().await?;
    ensure!(ready.status() == 503, "ready without keys");
    ensure!(ready.text().await?.contains("waiting for the keys"), "another reason");
    let tokens: Vec<_> = (0..cases.len())
        .map(|i| key.sign(&claims_with(&json!({"iss": format!("{ISSUER}{i}")}))))
        .collect();
    for version in HTTP_VERSIONS {
        let bearer = format!("Bearer {}", tokens[0]);
        let headers = [("Authorization", &*bearer)];
        let send = |method: &'static str, accept: &'static str| {
            let headers = [headers[0], ("Accept", accept)];
            let address = broker.address().to_owned();
            async move { RawResponse::request(version, &address, method, EVENTS, &headers, b"").await }
        };
        let mut stream = send("GET", "text/event-stream").await?;
        assert_eq!(stream.head.status, 200, "a browser gives up after any other status");
        let (reason, retry) = stream.read_closing().await?;
        ensure!(reason == "unavailable" && retry >= 1000, "{reason} {retry}");
        stream.read_to_end().await?;
        for (method, accept) in [("POST", "*/*"), ("GET", "application/json")] {
            let answer = send(method, accept).await?;
            ensure!(!answer.header_values("retry-after").is_empty(), "{:?}", answer.head);
            answer.expect_problem(503).await?;
        }
    }
    servers.iter().for_each(|server| server.set(Reply::keys(&[&key])));
    for token in &tokens {
        becomes_good(&broker, token).await?;
    }
    let left = problems(&broker).await?;
    assert_eq!(left.len(), unusable.len(), "{left:?}");
    Ok(())
}

/// Tests 12 and 13: a rotation is seen at the first token with the new key, and the old key is none any more. A server that fails later
/// harms nobody.
#[tokio::test]
async fn t12_t13_a_rotation_replaces_the_keys_and_a_later_failure_keeps_them() -> Result<()> {
    let (old, new) = (SigningKey::es256("old"), SigningKey::rs256("new"));
    let server = KeyServer::start(Reply::keys(&[&old])).await?;
    let broker = start_with(only(vec![fetched(&server)])).await?;
    let (of_old, of_new) = (old.sign(&claims("ann")), new.sign(&claims("ann")));
    expect(&broker, &of_old, (200, "ann")).await?;
    server.set(Reply::keys(&[&new]));
    expect(&broker, &of_new, (200, "ann")).await?;
    expect(&broker, &of_old, (401, "unknown-key")).await?;
    assert_eq!(server.fetches(), 2);

    // The keys stay loaded when something else of the configuration changes.
    let mut broker = broker;
    broker.reconfigure(|config| config.channels[0].access.anonymous = vec![Action::Subscribe])?;
    let reloads = [("outcome", "applied")];
    let metric = "eventcast_config_reloads_total";
    broker.wait_for_metric(metric, &reloads, WAIT_TIMEOUT, |n| n >= 1.0).await?;
    server.set(Reply::Status(500));
    expect(&broker, &of_new, (200, "ann")).await?;
    assert_eq!(server.fetches(), 2);
    // An issuer that is left out is forgotten.
    broker.reconfigure(|config| config.channels[0].access.tokens.clear())?;
    broker.wait_for_metric(metric, &reloads, WAIT_TIMEOUT, |n| n >= 2.0).await?;
    expect(&broker, &of_new, (401, "issuer")).await
}

#[tokio::test]
async fn an_unknown_key_cannot_be_judged_while_the_server_fails() -> Result<()> {
    let (old, new) = (SigningKey::es256("old"), SigningKey::es256("new"));
    let server = KeyServer::start(Reply::keys(&[&old])).await?;
    let broker = start_with(only(vec![fetched(&server)])).await?;
    server.set(Reply::Html);
    expect(&broker, &new.sign(&claims("ann")), (503, "")).await?;
    expect(&broker, &old.sign(&claims("ann")), (200, "ann")).await?;
    ensure!(problems(&broker).await?.is_empty(), "a passing failure is no problem");
    server.set(Reply::keys(&[&old, &new]));
    becomes_good(&broker, &new.sign(&claims("ann"))).await
}

/// Test 14: a flood of unknown keys causes one fetch in half a minute, and a real rotation is seen in spite of it.
#[tokio::test]
async fn t14_a_flood_of_unknown_keys_causes_one_fetch_in_half_a_minute() -> Result<()> {
    let (old, new, evil) =
        (SigningKey::es256("old"), SigningKey::es256("new"), SigningKey::ed25519("x"));
    let server = KeyServer::start(Reply::keys(&[&old])).await?;
    let broker = start_with(only(vec![fetched(&server)])).await?;
    let address = broker.address();
    let forged = |i: usize| evil.sign_with(&json!({"kid": format!("k{i}")}), &claims("ann"));
    let began = Instant::now();
    let flood = |from: usize| {
        let judged = (from..from + 50).map(|i| {
            let token = forged(i);
            async move { judge_token(address, Version::Http1, &token).await }
        });
        join_all(judged)
    };
    for outcome in flood(0).await {
        assert_eq!(outcome?, (401, "unknown-key".into()));
    }
    assert_eq!(server.fetches(), 2, "the first one, and one for all of them");
    server.set(Reply::keys(&[&old, &new]));
    let token = new.sign(&claims("ann"));
    let mut sent = 50;
    while judge_token(address, Version::Http1, &token).await?.0 != 200 {
        let fetches = server.fetches();
        ensure!(fetches == 2 || began.elapsed() > Duration::from_secs(29), "{fetches} fetches");
        ensure!(began.elapsed() < Duration::from_secs(33), "the rotation is not seen");
        flood(sent).await.into_iter().collect::<Result<Vec<_>>>()?;
        sent += 50;
        expect(&broker, &old.sign(&claims("ann")), (200, "ann")).await?;
    }
    ensure!(sent > 1000, "{sent} are no flood");
    ensure!(server.fetches() <= 3, "{} fetches", server.fetches());
    Ok(())
}

/// A token of a real OpenID provider, with the key set that it publishes.
#[tokio::test]
async fn a_token_of_a_real_provider_is_accepted() -> Result<()> {
    let provider = OidcProvider::start().await?;
    let metadata = provider.metadata().await?;
    let of_provider = TokenIssuer {
        issuer: provider.issuer().into(),
        audience: provider.audience().into(),
        jwks_url: Some(metadata["jwks_uri"].as_str().context("no jwks_uri")?.into()),
        ..issuer()
    };
    let broker = start_with(only(vec![of_provider])).await?;
    let token = provider.log_in().await?;
    for version in HTTP_VERSIONS {
        let judged = judge_token(broker.address(), version, &token).await?;
        assert_eq!(judged, (200, "id1".into()));
        let bearer = format!("Bearer {token}");
        let mut stream = broker.subscribe(version, "", &[("Authorization", &bearer)]).await?;
        stream.read_until(b"\n:\n").await?;
    }
    let mut forged = token.into_bytes();
    let at = forged.len() - 10;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    expect(&broker, &String::from_utf8(forged)?, (401, "signature")).await
}
