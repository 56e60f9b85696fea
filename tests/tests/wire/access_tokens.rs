//! JSON Web Tokens with keys from files: what is accepted, and that each attack fails on the check that is meant for it.

use std::{fs, net::TcpListener, time::Duration};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use eventcast_crds::config::{Access, Action, Algorithm, TokenIssuer};
use eventcast_tests::{
    access::{
        ISSUER, SigningKey, TokenBroker, claims, claims_with, issuer, judge_token, jwk_set, only,
        replace_file, start_with, unsigned,
    },
    eventually,
    http::Version,
    process,
    wire::HTTP_VERSIONS,
};
use serde_json::{Value, json};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

fn set(keys: &[&SigningKey]) -> String {
    jwk_set(keys).to_string()
}

fn ann() -> Value {
    claims("ann")
}

#[tokio::test]
async fn every_kind_of_key_verifies_from_a_key_set_and_from_pem() -> Result<()> {
    let keys = [
        SigningKey::es256("e"),
        SigningKey::ed25519("d"),
        SigningKey::rs256("r"),
        SigningKey::hs256("h", &[7; 32]),
    ];
    let all: Vec<_> = keys.iter().collect();
    let fixture = TokenBroker::start(&set(&all), |_| {}).await?;
    let tokens: Vec<_> = keys.iter().map(|key| (key.algorithm(), key.sign(&ann()))).collect();
    fixture.accepts(&tokens).await?;
    let without_kid: Vec<_> = keys
        .iter()
        .map(|key| (key.algorithm(), key.sign_with(&json!({"kid": null}), &ann())))
        .collect();
    fixture.accepts(&without_kid).await?;

    let another = SigningKey::es256("another");
    let pem = format!(
        "{}{}",
        keys[..3].iter().map(SigningKey::public_pem).collect::<String>(),
        another.public_pem()
    );
    let fixture = TokenBroker::start(&pem, |_| {}).await?;
    fixture.accepts(&tokens[..3]).await?;
    fixture.accepts(&[("the second of its kind", another.sign(&ann()))]).await?;
    fixture.refuses("algorithm", &tokens[3..]).await?;
    fixture.refuses("signature", &[("a stranger", SigningKey::es256("e").sign(&ann()))]).await
}

/// Tests 1 and 2: no algorithm, and a public key that is used as a secret.
#[tokio::test]
async fn t01_t02_the_algorithm_is_that_of_the_key() -> Result<()> {
    let (ec, rsa) = (SigningKey::es256("e"), SigningKey::rs256("r"));
    let fixture = TokenBroker::start(&set(&[&ec, &rsa]), |_| {}).await?;
    for none in ["none", "None", "nOnE", "NONE", ""] {
        let token = |kid: Value| unsigned(&json!({"alg": none, "kid": kid}), &ann());
        fixture
            .refuses("algorithm", &[(none, token(json!("e"))), (none, token(json!("")))])
            .await?;
    }
    let mut confused = Vec::new();
    for (kid, key) in [("e", &ec), ("r", &rsa)] {
        let (pem, der) = (key.public_pem().into_bytes(), key.public_der());
        let trimmed = pem.trim_ascii().to_vec();
        for secret in [pem, trimmed, der] {
            confused.push((kid, SigningKey::hs256(kid, &secret).sign(&ann())));
        }
    }
    fixture.refuses("algorithm", &confused).await?;
    let stripped = ec.sign(&ann());
    let (signed, _) = stripped.rsplit_once('.').context("no signature")?;
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    fixture
        .refuses(
            "signature",
            &[("stripped", format!("{signed}.")), ("zeros", format!("{signed}.{zeros}"))],
        )
        .await?;
    let crossed = rsa.sign_with(&json!({"kid": "e"}), &ann());
    fixture.refuses("algorithm", &[("the kid of another kind", crossed)]).await?;
    let narrowed = TokenBroker::start(&set(&[&ec, &rsa]), |issuer| {
        issuer.algorithms = vec![Algorithm::ES256];
    })
    .await?;
    narrowed.accepts(&[("allowed", ec.sign(&ann()))]).await?;
    narrowed.refuses("algorithm", &[("not allowed", rsa.sign(&ann()))]).await
}

/// Test 3: names of keys are compared and nothing else.
#[tokio::test]
async fn t03_a_kid_is_a_name_and_nothing_else() -> Result<()> {
    let (one, two) = (SigningKey::es256("one"), SigningKey::es256("two"));
    let fixture = TokenBroker::start(&set(&[&one, &two]), |_| {}).await?;
    let long = "k".repeat(4000);
    let kids =
        ["/dev/null", "../../keys", "http://127.0.0.1/", "' OR 1=1 --", "", "ONE", "one\n", &long];
    let tokens: Vec<_> =
        kids.iter().map(|kid| (*kid, one.sign_with(&json!({"kid": kid}), &ann()))).collect();
    fixture.refuses("unknown-key", &tokens).await?;
    let huge = one.sign_with(&json!({"kid": "k".repeat(10_000)}), &ann());
    let judged = fixture.judge(Version::Http1, &huge).await?;
    ensure!(judged.0 == 401, "{judged:?}");
    let absent = one.sign_with(&json!({"kid": null}), &ann());
    fixture.refuses("unknown-key", &[("absent, with two keys", absent)]).await?;
    let number = one.sign_with(&json!({"kid": 1}), &ann());
    fixture.refuses("form", &[("a number", number)]).await?;
    let other = one.sign_with(&json!({"kid": "two"}), &ann());
    fixture.refuses("signature", &[("the other's name", other)]).await
}

/// Tests 4 and 5: what a header says about keys is never looked at, and extensions are refused.
#[tokio::test]
async fn t04_t05_keys_of_headers_are_not_used_and_extensions_are_refused() -> Result<()> {
    let (key, evil) = (SigningKey::es256("k"), SigningKey::es256("k"));
    let fixture = TokenBroker::start(&set(&[&key]), |_| {}).await?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}/keys", listener.local_addr()?);
    let headers = [
        ("jwk", json!({"jwk": evil.jwk()})),
        ("jku", json!({"jku": url})),
        ("x5u", json!({"x5u": url})),
        ("all of them", json!({"jwk": evil.jwk(), "jku": url, "x5u": url, "x5t": "x"})),
    ];
    let forged: Vec<_> =
        headers.iter().map(|(what, header)| (*what, evil.sign_with(header, &ann()))).collect();
    fixture.refuses("signature", &forged).await?;
    let harmless: Vec<_> =
        headers.iter().map(|(what, header)| (*what, key.sign_with(header, &ann()))).collect();
    fixture.accepts(&harmless).await?;
    ensure!(listener.accept().is_err(), "the broker has connected to a URL of a token");
    let extensions = [json!(["exp"]), json!([]), json!("x"), json!({"b64": false})];
    let mut critical: Vec<_> = extensions
        .iter()
        .map(|crit| ("crit", key.sign_with(&json!({"crit": crit}), &ann())))
        .collect();
    let null = key.sign_text(r#"{"alg":"ES256","kid":"k","crit":null}"#, &ann().to_string());
    critical.push(("null", null));
    fixture.refuses("critical", &critical).await
}

/// Test 11: keys belong to an issuer, and one issuer may have several audiences.
#[tokio::test]
async fn t11_keys_of_one_issuer_do_not_verify_tokens_of_another() -> Result<()> {
    let (ours, theirs) = (SigningKey::es256("k"), SigningKey::es256("k"));
    let folder = process::folder("eventcast-issuers-")?;
    let first = TokenIssuer {
        key_file: Some(replace_file(folder.path(), "a", &set(&[&ours]))?),
        ..issuer()
    };
    let other = "https://other.example/";
    let second = TokenIssuer {
        issuer: other.into(),
        key_file: Some(replace_file(folder.path(), "b", &set(&[&theirs]))?),
        ..issuer()
    };
    let third = TokenIssuer { audience: "second".into(), subscribe: None, ..first.clone() };
    let broker = start_with(only(vec![first, second, third])).await?;
    let address = broker.address();
    let foreign = claims_with(&json!({"iss": other}));
    for version in HTTP_VERSIONS {
        let judge = |token: String| async move { judge_token(address, version, &token).await };
        assert_eq!(judge(ours.sign(&ann())).await?.0, 200);
        assert_eq!(judge(theirs.sign(&foreign)).await?.0, 200);
        assert_eq!(judge(ours.sign(&foreign)).await?, (401, "signature".into()));
        assert_eq!(judge(theirs.sign(&ann())).await?, (401, "signature".into()));
        let second = claims_with(&json!({"aud": "second"}));
        assert_eq!(judge(ours.sign(&second)).await?.0, 200);
        assert_eq!(judge(theirs.sign(&second)).await?, (401, "signature".into()));
        let elsewhere = claims_with(&json!({"iss": other, "aud": "second"}));
        assert_eq!(judge(theirs.sign(&elsewhere)).await?, (401, "audience".into()));
    }
    Ok(())
}

/// A changed key file counts within seconds; a broken or missing one leaves the last keys in use, and is reported.
#[tokio::test]
async fn t12_a_changed_key_file_replaces_the_keys_and_a_broken_one_does_not() -> Result<()> {
    let (old, new) = (SigningKey::es256("old"), SigningKey::es256("new"));
    let fixture = TokenBroker::start(&set(&[&old]), |_| {}).await?;
    let (of_old, of_new) = (old.sign(&ann()), new.sign(&ann()));
    fixture.accepts(&[("before", of_old.clone())]).await?;
    replace_file(fixture.folder(), "keys", &set(&[&new]))?;
    eventually("the new key counts", WAIT_TIMEOUT, || async {
        let judged = fixture.judge(Version::Http1, &of_new).await?;
        ensure!(judged.0 == 200, "{judged:?}");
        Ok(())
    })
    .await?;
    fixture.refuses("unknown-key", &[("removed, although it was good before", of_old)]).await?;
    for (content, reason) in [(Some("<html>"), "KeysInvalid"), (None, "SecretMissing")] {
        match content {
            Some(text) => drop(replace_file(fixture.folder(), "keys", text)?),
            None => fs::remove_file(fixture.folder().join("keys"))?,
        }
        let labels = [("reason", reason), ("what", "issuer https://login.example.com/")];
        let metric = "eventcast_access_problem";
        fixture.broker.wait_for_metric(metric, &labels, WAIT_TIMEOUT, |n| n == 1.0).await?;
        fixture.accepts(&[("the last good key", of_new.clone())]).await?;
    }
    let keys = fixture.broker.metric("eventcast_access_keys", &[("issuer", ISSUER)]).await?;
    assert_eq!(keys, 1.0);
    Ok(())
}

/// A bad credential is never treated as none: what is open to everybody stays closed to it.
#[tokio::test]
async fn t27_a_bad_credential_is_never_taken_for_none() -> Result<()> {
    let key = SigningKey::es256("k");
    let folder = process::folder("eventcast-mixed-")?;
    let issuer = TokenIssuer {
        key_file: Some(replace_file(folder.path(), "keys", &set(&[&key]))?),
        ..issuer()
    };
    let open = Access { anonymous: vec![Action::Subscribe, Action::Publish], ..only(vec![issuer]) };
    let broker = start_with(open).await?;
    let expired = format!("Bearer {}", key.sign(&claims_with(&json!({"exp": 1}))));
    let endpoints = [
        ("GET", "/events", "text/event-stream"),
        ("GET", "/events", "application/json"),
        ("GET", "/stats", "*/*"),
        ("GET", "", "*/*"),
        ("GET", "/access", "*/*"),
        ("POST", "/events", "*/*"),
        ("DELETE", "/events?topic=a", "*/*"),
    ];
    let mut clients = 1..;
    for version in HTTP_VERSIONS {
        for (method, path, accept) in endpoints {
            for bad in [&*expired, "Bearer x", "Basic eDp4", "Bearer evk_x", "Bearer evt_x", ""] {
                let client = format!("10.0.1.{}", clients.next().unwrap_or(1) % 250);
                let target = format!("/channels/default/demo{path}");
                let headers =
                    [("Authorization", bad), ("Accept", accept), ("X-Forwarded-For", &*client)];
                let response = broker.request(version, method, &target, &headers).await?;
                let status = response.head.status;
                ensure!(status == 401, "{version:?} {method} {path} with {bad:?}: {status}");
                let challenge = response.header_values("www-authenticate");
                ensure!(challenge == ["Bearer error=\"invalid_token\""], "{challenge:?}");
            }
        }
    }
    Ok(())
}

/// Public keys in the configuration itself: a change of it replaces them.
#[tokio::test]
async fn keys_in_the_configuration_verify_tokens_and_may_change() -> Result<()> {
    let (old, new) = (SigningKey::es256("old"), SigningKey::ed25519("new"));
    let with = |key: &SigningKey| -> Result<TokenIssuer> {
        Ok(TokenIssuer { jwks: Some(serde_json::from_value(jwk_set(&[key]))?), ..issuer() })
    };
    let mut broker = start_with(only(vec![with(&old)?])).await?;
    let address = broker.address().to_owned();
    let judge = |token: String| {
        let address = address.clone();
        async move { judge_token(&address, Version::Http2, &token).await }
    };
    assert_eq!(judge(old.sign(&ann())).await?.0, 200);
    assert_eq!(judge(new.sign(&ann())).await?, (401, "unknown-key".into()));
    let access = only(vec![with(&new)?]);
    broker.reconfigure(|config| config.channels[0].access = access)?;
    eventually("the new key counts", WAIT_TIMEOUT, || async {
        let judged = judge(new.sign(&ann())).await?;
        ensure!(judged.0 == 200, "{judged:?}");
        Ok(())
    })
    .await?;
    assert_eq!(judge(old.sign(&ann())).await?, (401, "unknown-key".into()));
    // A secret would sign for whoever reads the configuration.
    let access = only(vec![with(&SigningKey::hs256("secret", &[7; 32]))?]);
    broker.reconfigure(|config| config.channels[0].access = access)?;
    eventually("the configuration is rejected", WAIT_TIMEOUT, || async {
        let log = broker.log();
        ensure!(log.contains("channels[0].access.tokens[0].jwks.keys[0]: "), "{log}");
        Ok(())
    })
    .await?;
    assert_eq!(judge(new.sign(&ann())).await?.0, 200, "the last valid one stays");
    Ok(())
}
