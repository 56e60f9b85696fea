//! API keys and tokens that the program itself makes, and limits of refusals.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{
    broker_status::PATH,
    config::{Access, ApiKeys, Quota, TokenIssuer},
};
use eventcast_tests::{
    access::{
        SigningKey, claims, claims_with, issuer, judge, judge_token, jwk_set, make_key, only,
        start_with,
    },
    broker::Cli,
    eventually,
    http::{Answer, Publish, Version, client},
    issuer::bearer,
    process,
    wire::{BrokerWithNats, HTTP_VERSIONS},
};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

fn with_keys(folder: &Path) -> Access {
    Access { api_keys: Some(ApiKeys { folder: folder.into() }), ..Access::default() }
}

async fn wait_for(broker: &BrokerWithNats, key: &str, wanted: (u16, &str)) -> Result<()> {
    eventually("the key is judged anew", WAIT_TIMEOUT, || async {
        let (status, text) = judge_token(broker.address(), Version::Http1, key).await?;
        ensure!((status, &*text) == wanted, "{status} {text}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_api_key_counts_while_its_entry_is_there() -> Result<()> {
    let folder = process::folder("eventcast-api-keys-")?;
    let folder = folder.path();
    let ci = make_key(folder, "ci", &["--publish", "orders.*", "--types", "created"]).await?;
    let broker = start_with(with_keys(folder)).await?;
    wait_for(&broker, &ci, (200, "ci")).await?;
    let late = make_key(folder, "late", &["--subscribe", ">", "--manage"]).await?;
    wait_for(&broker, &late, (200, "late")).await?;
    let ended =
        make_key(folder, "ended", &["--publish", ">", "--not-after", "2020-01-01T00:00:00Z"]);
    wait_for(&broker, &ended.await?, (401, "expired")).await?;
    let replaced = make_key(folder, "late", &["--subscribe", ">"]).await?;
    wait_for(&broker, &replaced, (200, "late")).await?;
    wait_for(&broker, &late, (401, "unknown-key")).await?;

    let address = broker.address();
    let mistyped = format!("{}x", &ci[..ci.len() - 1]);
    let strange = ["evk_", "evk_ci", "evk_ci_secret", &mistyped, &ci.to_uppercase()];
    for version in HTTP_VERSIONS {
        for key in strange {
            assert_eq!(judge_token(address, version, key).await?, (401, "form".into()), "{key}");
        }
        // In a header alone: a cookie is sent by foreign pages, and a URL is logged.
        let cookie = format!("__Host-eventcast={ci}");
        let headers = [("Cookie", &*cookie)];
        let target = "/channels/default/demo/access?credentials=cookie";
        let in_cookie = broker.request(version, "GET", target, &headers).await?;
        assert_eq!(in_cookie.expect_problem(401).await?["check"], "form");
        let target = format!("/channels/default/demo/events?ticket={ci}");
        let in_url = broker.request(version, "GET", &target, &[]).await?;
        assert_eq!(in_url.expect_problem(401).await?["check"], "form");
    }
    fs::write(folder.join("broken"), "{")?;
    let labels = [("what", "api keys"), ("reason", "KeysInvalid")];
    broker.wait_for_metric("eventcast_access_problem", &labels, WAIT_TIMEOUT, |n| n == 1.0).await?;
    wait_for(&broker, &ci, (200, "ci")).await?;
    fs::remove_file(folder.join("ci"))?;
    wait_for(&broker, &ci, (401, "unknown-key")).await?;
    fs::remove_dir_all(folder)?;
    wait_for(&broker, &replaced, (503, "")).await?;
    let labels = [("what", "api keys"), ("reason", "SecretMissing")];
    broker.wait_for_metric("eventcast_access_problem", &labels, WAIT_TIMEOUT, |n| n == 1.0).await?;
    let log = broker.log();
    ensure!(!log.contains(&ci) && !log.contains(&late), "a key is in the log");
    Ok(())
}

/// A key has the quota of its class. One whose class the channel does not know has no grant, so that it is not unlimited.
#[tokio::test]
async fn an_api_key_has_a_quota() -> Result<()> {
    let folder = process::folder("eventcast-quota-")?;
    let few = make_key(folder.path(), "few", &["--publish", ">", "--quota", "few"]).await?;
    let free = make_key(folder.path(), "free", &["--publish", ">"]).await?;
    let mut access = with_keys(folder.path());
    let class = Quota { name: "few".into(), publishes_per_second: 3, ..Quota::default() };
    access.quotas = vec![class.clone()];
    let mut broker = start_with(access).await?;
    let publish = async |broker: &BrokerWithNats, key: &str| -> Result<Vec<Answer>> {
        let (name, value) = bearer(key);
        let event = Publish::new("x").topic("a").header(&name, &value);
        try_join_all((0..12).map(|_| broker.send(&event))).await
    };
    let answers = publish(&broker, &few).await?;
    ensure!(answers.iter().any(|answer| answer.status == 201), "{answers:?}");
    let refused = answers.iter().find(|answer| answer.status == 429).context("no limit")?;
    ensure!(refused.json["limit"] == "publishesPerSecond", "{}", refused.json);
    ensure!(publish(&broker, &free).await?.iter().all(|answer| answer.status == 201), "no class");

    let labels = [("what", "api keys"), ("reason", "KeysInvalid")];
    assert_eq!(broker.metric("eventcast_access_problem", &labels).await?, 0.0);
    broker.reconfigure(|config| config.channels[0].access.quotas.clear())?;
    wait_for(&broker, &few, (503, "")).await?;
    broker.wait_for_metric("eventcast_access_problem", &labels, WAIT_TIMEOUT, |n| n == 1.0).await?;
    let state = client(Version::Http1).get(broker.admin_url(PATH)).send().await?.text().await?;
    ensure!(state.contains("few: its quota"), "{state}");
    ensure!(publish(&broker, &free).await?.iter().all(|answer| answer.status == 201), "no class");
    broker.reconfigure(|config| config.channels[0].access.quotas = vec![class])?;
    wait_for(&broker, &few, (200, "few")).await?;
    broker.wait_for_metric("eventcast_access_problem", &labels, WAIT_TIMEOUT, |n| n == 0.0).await?;
    Ok(())
}

#[tokio::test]
async fn the_program_says_what_is_wrong_with_the_options_of_a_key() -> Result<()> {
    for (options, says) in [
        (&["key", "--id", "a_b", "--manage"][..], "--id"),
        (&["key", "--id", "a"], "may do nothing"),
        (&["key", "--id", "a", "--publish", "a..b"], "--publish \"a..b\""),
        (&["key", "--id", "a", "--types", "x"], "--publish"),
        (&["token", "--keys", "/nowhere/keys", "--subject", "a"], "/nowhere/keys"),
        (&["token", "--keys", "/dev/null", "--subject", "a"], "no secret"),
    ] {
        let ended = Cli::new(options).output(WAIT_TIMEOUT).await?;
        ensure!(!ended.status.success(), "{options:?}");
        ensure!(ended.stderr.contains(says), "{options:?}: {}", ended.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_token_for_development_is_accepted_with_its_key_file() -> Result<()> {
    let folder = process::folder("eventcast-development-")?;
    let keys = folder.path().join("keys.json");
    let file = keys.display().to_string();
    let arguments = ["token", "--keys", &file, "--subject", "ann", "--claim", "groups=[\"a\"]"];
    let sign = async || -> Result<String> {
        let ended = Cli::new(&arguments).output(WAIT_TIMEOUT).await?;
        ensure!(ended.status.success(), "{}", ended.stderr);
        Ok(ended.stdout.trim().to_owned())
    };
    let first = sign().await?;
    let issuer = TokenIssuer {
        issuer: "development".into(),
        audience: "development".into(),
        key_file: Some(keys.clone()),
        ..issuer()
    };
    let broker = start_with(only(vec![issuer])).await?;
    for token in [first, sign().await?] {
        let judged = judge_token(broker.address(), Version::Http1, &token).await?;
        assert_eq!(judged, (200, "ann".into()));
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(keys)?.permissions());
    assert_eq!(mode & 0o77, 0, "others may read the secret");
    Ok(())
}

/// An address that sends many bad credentials waits; who is known there does not.
#[tokio::test]
async fn a_client_that_guesses_is_held_up_and_its_neighbours_are_not() -> Result<()> {
    let (key, folder) = (SigningKey::es256("k"), process::folder("eventcast-guessed-")?);
    fs::write(folder.path().join("keys"), jwk_set(&[&key]).to_string())?;
    let keys = folder.path().join("api");
    fs::create_dir(&keys)?;
    let api_key = make_key(&keys, "ci", &["--publish", ">"]).await?;
    let issuer = TokenIssuer { key_file: Some(folder.path().join("keys")), ..issuer() };
    let access = Access { tokens: vec![issuer], ..with_keys(&keys) };
    let broker = BrokerWithNats::start(|config| config.channels[0].access = access).await?;
    let judge = async |credential: &str| -> Result<u16> {
        let bearer = format!("Bearer {credential}");
        Ok(judge(broker.address(), Version::Http1, &[("Authorization", &bearer)]).await?.0)
    };
    let (known, unknown) = (key.sign(&claims("ann")), key.sign(&claims("bob")));
    assert_eq!(judge(&known).await?, 200);
    let evil = SigningKey::es256("k");
    let mut statuses = BTreeSet::new();
    for i in 0..60 {
        statuses.insert(judge(&evil.sign(&claims(&i.to_string()))).await?);
    }
    assert_eq!(statuses, BTreeSet::from([401, 429]));
    while judge("x").await? != 429 {}
    assert_eq!(judge(&known).await?, 200, "a token that is known");
    assert_eq!(judge(&api_key).await?, 200);
    while judge("x").await? != 429 {}
    assert_eq!(judge(&unknown).await?, 429);
    eventually("the client may try again", WAIT_TIMEOUT, || async {
        ensure!(judge(&unknown).await? == 200, "not yet");
        Ok(())
    })
    .await?;
    let log = broker.log();
    let lines = log.lines().filter(|line| line.contains("access refused")).count();
    ensure!((10..60).contains(&lines), "{lines} lines about refusals");
    for secret in [&known, &unknown, &api_key] {
        ensure!(!log.contains(&**secret), "a credential is in the log");
    }
    Ok(())
}

/// What a refusal says: the check, what to do, and nothing of the token.
#[tokio::test]
async fn a_refusal_names_the_check_and_never_a_value() -> Result<()> {
    let (key, folder) = (SigningKey::es256("k"), process::folder("eventcast-told-")?);
    fs::write(folder.path().join("keys"), jwk_set(&[&key]).to_string())?;
    let issuer = TokenIssuer {
        key_file: Some(folder.path().join("keys")),
        required_claims: [("tenant".to_owned(), "blue".to_owned())].into(),
        ..issuer()
    };
    let broker = start_with(only(vec![issuer])).await?;
    let canary = "canary-7c1f";
    let bad = [
        claims_with(&json!({"iss": canary})),
        claims_with(&json!({"aud": canary})),
        claims_with(&json!({"exp": canary})),
        claims_with(&json!({"tenant": canary})),
        claims_with(&json!({"exp": 1, "x": canary})),
    ];
    let mut tokens: Vec<_> = bad.iter().map(|claims| key.sign(claims)).collect();
    tokens.push(key.sign_with(&json!({"kid": canary}), &claims(canary)));
    tokens.push(key.sign_with(&json!({"typ": canary}), &claims(canary)));
    tokens.push(key.sign_with(&json!({"alg": canary}), &claims(canary)));
    tokens.push(SigningKey::es256("k").sign(&claims(canary)));
    tokens.push(canary.to_owned());
    for version in HTTP_VERSIONS {
        for token in &tokens {
            let bearer = format!("Bearer {token}");
            let address = format!("10.2.{}.{}", fastrand::u8(..), fastrand::u8(..));
            let headers = [("Authorization", &*bearer), ("X-Forwarded-For", &*address)];
            let target = "/channels/default/demo/stats";
            let response = broker.request(version, "GET", target, &headers).await?;
            let problem: Value = response.expect_problem(401).await?;
            ensure!(problem["check"].as_str().is_some_and(|check| !check.is_empty()), "{problem}");
            ensure!(!problem.to_string().contains(canary), "{problem}");
            ensure!(!problem.to_string().contains("blue"), "{problem}");
        }
    }
    ensure!(!broker.log().contains(canary), "a value of an unverified token is in the log");
    Ok(())
}
