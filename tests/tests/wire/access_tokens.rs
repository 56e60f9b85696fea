//! JSON Web Tokens with keys from files: what is accepted, and that each attack fails on the check that is meant for it.

use std::{fs, net::TcpListener, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use eventcast_crds::config::{Access, Action, Algorithm, TokenIssuer};
use eventcast_tests::{
    access::{
        ISSUER, SigningKey, claims, claims_with, issuer, judge, judge_token, jwk_set, now, only,
        unsigned,
    },
    broker::networks,
    eventually,
    http::Version,
    process,
    wire::{BrokerWithNats, HTTP_VERSIONS},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A broker that accepts the tokens of one issuer, and files for its keys.
struct Fixture {
    broker: BrokerWithNats,
    folder: TempDir,
}

impl Fixture {
    /// `keys` are the content of the key file; `change` sees the issuer.
    async fn start(keys: &str, change: impl FnOnce(&mut TokenIssuer)) -> Result<Self> {
        let folder = process::folder("eventcast-issuer-")?;
        let mut issuer = issuer();
        issuer.key_file = Some(write(&folder, "keys", keys)?);
        change(&mut issuer);
        let broker = start(only(vec![issuer])).await?;
        Ok(Self { broker, folder })
    }

    async fn judge(&self, version: Version, token: &str) -> Result<(u16, String)> {
        judge_token(self.broker.address(), version, token).await
    }

    /// Expects `tokens` to be accepted, over both versions of HTTP.
    async fn accepts(&self, tokens: &[(&str, String)]) -> Result<()> {
        for version in HTTP_VERSIONS {
            for (what, token) in tokens {
                let judged = self.judge(version, token).await?;
                ensure!(judged == (200, "ann".into()), "{what} over {version:?}: {judged:?}");
            }
        }
        Ok(())
    }

    /// Expects `tokens` to fail on `check`, over both versions of HTTP.
    async fn refuses(&self, check: &str, tokens: &[(&str, String)]) -> Result<()> {
        for version in HTTP_VERSIONS {
            for (what, token) in tokens {
                let judged = self.judge(version, token).await?;
                ensure!(judged == (401, check.into()), "{what} over {version:?}: {judged:?}");
            }
        }
        Ok(())
    }
}

async fn start(access: Access) -> Result<BrokerWithNats> {
    BrokerWithNats::start(|config| {
        config.limits.trusted_proxies = networks(["127.0.0.0/8"]);
        config.channels[0].access = access;
    })
    .await
}

fn write(folder: &TempDir, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.path().join(name);
    let new = folder.path().join("new");
    fs::write(&new, text)?;
    fs::rename(new, &path)?;
    Ok(path)
}

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
    let fixture = Fixture::start(&set(&all), |_| {}).await?;
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
    let fixture = Fixture::start(&pem, |_| {}).await?;
    fixture.accepts(&tokens[..3]).await?;
    fixture.accepts(&[("the second of its kind", another.sign(&ann()))]).await?;
    fixture.refuses("algorithm", &tokens[3..]).await?;
    fixture.refuses("signature", &[("a stranger", SigningKey::es256("e").sign(&ann()))]).await
}

/// Tests 1 and 2: no algorithm, and a public key that is used as a secret.
#[tokio::test]
async fn t01_t02_the_algorithm_is_that_of_the_key() -> Result<()> {
    let (ec, rsa) = (SigningKey::es256("e"), SigningKey::rs256("r"));
    let fixture = Fixture::start(&set(&[&ec, &rsa]), |_| {}).await?;
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
    let narrowed = Fixture::start(&set(&[&ec, &rsa]), |issuer| {
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
    let fixture = Fixture::start(&set(&[&one, &two]), |_| {}).await?;
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
    let fixture = Fixture::start(&set(&[&key]), |_| {}).await?;
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

/// Tests 6 and 7: issuer and audience are compared whole.
#[tokio::test]
async fn t06_t07_issuer_and_audience_are_compared_whole() -> Result<()> {
    let key = SigningKey::es256("k");
    let fixture = Fixture::start(&set(&[&key]), |_| {}).await?;
    let with = |name: &str, value: Value| key.sign(&claims_with(&json!({name: value})));
    let issuers = [
        ("a list", json!([ISSUER])),
        ("upper case", json!(ISSUER.to_uppercase())),
        ("without the slash", json!(ISSUER.trim_end_matches('/'))),
        ("a prefix", json!(format!("{ISSUER}x"))),
        ("a number", json!(1)),
        ("none", Value::Null),
        ("empty", json!("")),
    ];
    let tokens: Vec<_> = issuers.into_iter().map(|(what, iss)| (what, with("iss", iss))).collect();
    fixture.refuses("issuer", &tokens).await?;
    fixture
        .accepts(&[
            ("a list with ours", with("aud", json!(["other", "notifications"]))),
            ("ours alone in a list", with("aud", json!(["notifications"]))),
        ])
        .await?;
    let audiences = [
        ("none", Value::Null),
        ("a number", json!(7)),
        ("an object", json!({"notifications": true})),
        ("another", json!("notification")),
        ("a list without ours", json!(["a", "b"])),
        ("an empty list", json!([])),
        ("a nested list", json!([["notifications"]])),
        ("a list with a number", json!(["notifications", 1])),
        ("upper case", json!("Notifications")),
    ];
    let mut tokens: Vec<_> =
        audiences.into_iter().map(|(what, aud)| (what, with("aud", aud))).collect();
    let null = format!(r#"{{"iss":"{ISSUER}","aud":null,"sub":"ann","exp":{}}}"#, now() + 60);
    tokens.push(("null", key.sign_text(r#"{"alg":"ES256","kid":"k"}"#, &null)));
    fixture.refuses("audience", &tokens).await
}

/// Test 8: times, with the leeway of 30 seconds.
#[tokio::test]
async fn t08_times_are_checked_with_the_leeway() -> Result<()> {
    let key = SigningKey::es256("k");
    let fixture = Fixture::start(&set(&[&key]), |_| {}).await?;
    let with = |changes: Value| key.sign(&claims_with(&changes));
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    let raw = |exp: &str| {
        let claims =
            format!(r#"{{"iss":"{ISSUER}","aud":"notifications","sub":"ann","exp":{exp}}}"#);
        key.sign_text(header, &claims)
    };
    fixture
        .accepts(&[
            ("expired within the leeway", with(json!({"exp": now() - 20}))),
            ("not yet valid within the leeway", with(json!({"nbf": now() + 20}))),
            ("issued within the leeway", with(json!({"iat": now() + 20}))),
            ("a fraction", raw(&format!("{}.5", now() + 60))),
            ("the largest number", raw("18446744073709551615")),
            ("without iat", with(json!({"iat": null}))),
        ])
        .await?;
    fixture
        .refuses(
            "expired",
            &[
                ("expired beyond the leeway", with(json!({"exp": now() - 32}))),
                ("without an end", with(json!({"exp": null}))),
                ("text", raw("\"9999999999\"")),
                ("negative", raw("-1")),
                ("zero", raw("0")),
                ("too large", raw("18446744073709551616")),
                ("null", raw("null")),
            ],
        )
        .await?;
    fixture
        .refuses(
            "form",
            &[
                ("1e400", raw("1e400")),
                ("not a number", raw("NaN")),
                ("a list", raw("[9999999999]")),
            ],
        )
        .await?;
    fixture
        .refuses(
            "not-yet-valid",
            &[("nbf", with(json!({"nbf": now() + 60}))), ("iat", with(json!({"iat": now() + 60})))],
        )
        .await?;
    let texts = [("nbf", with(json!({"nbf": "x"}))), ("iat", with(json!({"iat": "x"})))];
    fixture.refuses("claim", &texts).await
}

/// Tests 9 and 10: what is no token, what says a thing twice, and tokens for other purposes.
#[tokio::test]
async fn t09_t10_malformed_ambiguous_and_other_kinds_of_tokens_are_refused() -> Result<()> {
    let key = SigningKey::es256("k");
    let fixture = Fixture::start(&set(&[&key]), |_| {}).await?;
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    let twice = |more: &str| {
        let claims = format!(
            r#"{{"iss":"{ISSUER}","aud":"notifications","sub":"ann","exp":{},{more}}}"#,
            now() + 60
        );
        key.sign_text(header, &claims)
    };
    let good = key.sign(&ann());
    let padded = {
        let (head, rest) = good.split_once('.').context("no parts")?;
        format!("{head}=.{rest}")
    };
    fixture
        .refuses(
            "form",
            &[
                ("exp twice", twice(r#""exp":9999999999"#)),
                ("sub twice", twice(r#""sub":"bob""#)),
                ("sub twice, escaped", twice(r#""s\u0075b":"bob""#)),
                ("grants twice", twice(r#""g":{},"g":{}"#)),
                (
                    "alg twice",
                    key.sign_text(r#"{"alg":"none","alg":"ES256","kid":"k"}"#, &ann().to_string()),
                ),
                ("four parts", format!("{good}.x")),
                ("five parts", format!("{good}.x.y")),
                ("two parts", good.rsplit_once('.').context("no parts")?.0.into()),
                ("padding", padded),
                ("claims that are a list", key.sign_text(header, "[]")),
                ("claims that are no JSON", key.sign_text(header, "x")),
                (
                    "claims that are not UTF-8",
                    format!(
                        "{}.{}.AA",
                        URL_SAFE_NO_PAD.encode(header),
                        URL_SAFE_NO_PAD.encode([0xff])
                    ),
                ),
                ("deep claims", twice(&format!(r#""x":{}1{}"#, "[".repeat(500), "]".repeat(500)))),
                ("a word", "token".into()),
                ("dots", "..".into()),
            ],
        )
        .await?;
    for version in HTTP_VERSIONS {
        for bytes in [9_000, 1 << 20] {
            let large = key.sign(&claims_with(&json!({"x": "x".repeat(bytes)})));
            // a head of this size may be refused before anybody looks at the token
            if let Ok(judged) = fixture.judge(version, &large).await {
                ensure!([400, 401, 413, 431].contains(&judged.0), "{bytes}: {judged:?}");
            }
        }
    }
    let typed = |typ: &str| key.sign_with(&json!({"typ": typ}), &ann());
    fixture
        .accepts(&[
            ("JWT", typed("JWT")),
            ("at+jwt", typed("at+jwt")),
            ("application/at+jwt", typed("application/at+jwt")),
            ("none", key.sign_with(&json!({"typ": null}), &ann())),
        ])
        .await?;
    let kinds = ["logout+jwt", "secevent+jwt", "dpop+jwt", "id_token", "JWE", ""];
    let others: Vec<_> = kinds.iter().map(|typ| (*typ, typed(typ))).collect();
    fixture.refuses("type", &others).await?;
    let strict = set(&[&key]);
    let strict =
        Fixture::start(&strict, |issuer| issuer.token_type = Some("at+jwt".into())).await?;
    strict.accepts(&[("at+jwt", typed("at+jwt"))]).await?;
    strict
        .refuses("type", &[("an ID token", typed("JWT")), ("", typed("application/at+jwt"))])
        .await
}

/// Test 11: keys belong to an issuer, and one issuer may have several audiences.
#[tokio::test]
async fn t11_keys_of_one_issuer_do_not_verify_tokens_of_another() -> Result<()> {
    let (ours, theirs) = (SigningKey::es256("k"), SigningKey::es256("k"));
    let folder = process::folder("eventcast-issuers-")?;
    let first = TokenIssuer { key_file: Some(write(&folder, "a", &set(&[&ours]))?), ..issuer() };
    let other = "https://other.example/";
    let second = TokenIssuer {
        issuer: other.into(),
        key_file: Some(write(&folder, "b", &set(&[&theirs]))?),
        ..issuer()
    };
    let third = TokenIssuer { audience: "second".into(), subscribe: None, ..first.clone() };
    let broker = start(only(vec![first, second, third])).await?;
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
    let fixture = Fixture::start(&set(&[&old]), |_| {}).await?;
    let (of_old, of_new) = (old.sign(&ann()), new.sign(&ann()));
    fixture.accepts(&[("before", of_old.clone())]).await?;
    write(&fixture.folder, "keys", &set(&[&new]))?;
    eventually("the new key counts", WAIT_TIMEOUT, || async {
        let judged = fixture.judge(Version::Http1, &of_new).await?;
        ensure!(judged.0 == 200, "{judged:?}");
        Ok(())
    })
    .await?;
    fixture.refuses("unknown-key", &[("removed, although it was good before", of_old)]).await?;
    for (content, reason) in [(Some("<html>"), "KeysInvalid"), (None, "SecretMissing")] {
        match content {
            Some(text) => drop(write(&fixture.folder, "keys", text)?),
            None => fs::remove_file(fixture.folder.path().join("keys"))?,
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

/// Claims that the channel asks for, and a subject from another claim.
#[tokio::test]
async fn required_claims_and_the_subject_are_taken_from_the_token() -> Result<()> {
    let key = SigningKey::es256("k");
    let fixture = Fixture::start(&set(&[&key]), |issuer| {
        issuer.subject_claim = "email".into();
        issuer.required_claims = [("realm.roles".to_owned(), "reader".to_owned())].into();
    })
    .await?;
    let with = |changes: Value| key.sign(&claims_with(&changes));
    let roles = json!({"roles": ["writer", "reader"]});
    fixture.accepts(&[("good", with(json!({"email": "ann", "sub": 7, "realm": roles})))]).await?;
    fixture
        .refuses(
            "claim",
            &[
                ("no role", with(json!({"email": "ann"}))),
                ("another role", with(json!({"email": "ann", "realm": {"roles": ["reade"]}}))),
                ("no subject", with(json!({"realm": roles}))),
                ("an empty subject", with(json!({"email": "", "realm": roles}))),
                ("two subjects", with(json!({"email": ["ann", "bob"], "realm": roles}))),
                ("a long subject", with(json!({"email": "x".repeat(1025), "realm": roles}))),
            ],
        )
        .await
}

/// Test 38: the header itself.
#[tokio::test]
async fn t38_the_header_has_one_credential_in_one_form() -> Result<()> {
    let key = SigningKey::es256("k");
    let fixture = Fixture::start(&set(&[&key]), |_| {}).await?;
    let token = key.sign(&ann());
    let address = fixture.broker.address();
    for version in HTTP_VERSIONS {
        let judge = |value: String| async move {
            judge(address, version, &[("Authorization", &value)]).await
        };
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert_eq!(judge(format!("{scheme} {token}")).await?.0, 200, "{scheme}");
        }
        for (value, check) in [
            (format!("Basic {token}"), "scheme"),
            (format!("Bearer{token}"), "form"),
            (format!("Bearer\t{token}"), "form"),
            (format!("Bearer {token}, Bearer {token}"), "form"),
            (format!("Bearer {token} x"), "form"),
            (format!("Bearer {token},"), "form"),
            ("Bearer".to_owned(), "form"),
            ("Bearer ü".to_owned(), "form"),
            (token.clone(), "form"),
        ] {
            assert_eq!(judge(value.clone()).await?, (401, check.into()), "{value}");
        }
    }
    let twice = [("Authorization", &*format!("Bearer {token}")), ("Authorization", "Bearer x")];
    for version in HTTP_VERSIONS {
        for headers in [twice, [twice[0], twice[0]]] {
            let (status, _) = eventcast_tests::access::judge(address, version, &headers).await?;
            assert_eq!(status, 400, "which of the two would another program use?");
        }
    }
    let split = [("Authorization", &*format!("Bearer {token}\r\n x"))];
    let folded = eventcast_tests::access::judge(address, Version::Http1, &split).await?;
    ensure!([400, 401].contains(&folded.0), "a folded header: {folded:?}");
    Ok(())
}

/// A bad credential is never treated as none: what is open to everybody stays closed to it.
#[tokio::test]
async fn t27_a_bad_credential_is_never_taken_for_none() -> Result<()> {
    let key = SigningKey::es256("k");
    let folder = process::folder("eventcast-mixed-")?;
    let issuer = TokenIssuer { key_file: Some(write(&folder, "keys", &set(&[&key]))?), ..issuer() };
    let open = Access { anonymous: vec![Action::Subscribe, Action::Publish], ..only(vec![issuer]) };
    let broker = start(open).await?;
    let expired = format!("Bearer {}", key.sign(&claims_with(&json!({"exp": now() - 60}))));
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
