//! Claims and headers of tokens, each attack on the check that is meant for it.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use eventcast_tests::{
    access::{ISSUER, SigningKey, TokenBroker, claims, claims_with, judge, jwk_set, now},
    http::Version,
    wire::HTTP_VERSIONS,
};
use serde_json::{Value, json};

fn set(keys: &[&SigningKey]) -> String {
    jwk_set(keys).to_string()
}

fn ann() -> Value {
    claims("ann")
}

/// Tests 6 and 7: issuer and audience are compared whole.
#[tokio::test]
async fn t06_t07_issuer_and_audience_are_compared_whole() -> Result<()> {
    let key = SigningKey::es256("k");
    let fixture = TokenBroker::start(&set(&[&key]), |_| {}).await?;
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
    let fixture = TokenBroker::start(&set(&[&key]), |_| {}).await?;
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
            ("until the year 9999", raw("253402300799")),
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
                ("milliseconds", with(json!({"exp": 1000 * (now() + 60)}))),
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
    let fixture = TokenBroker::start(&set(&[&key]), |_| {}).await?;
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
        TokenBroker::start(&strict, |issuer| issuer.token_type = Some("at+jwt".into())).await?;
    strict.accepts(&[("at+jwt", typed("at+jwt"))]).await?;
    strict
        .refuses("type", &[("an ID token", typed("JWT")), ("", typed("application/at+jwt"))])
        .await
}

/// Claims that the channel asks for, and a subject from another claim.
#[tokio::test]
async fn required_claims_and_the_subject_are_taken_from_the_token() -> Result<()> {
    let key = SigningKey::es256("k");
    let fixture = TokenBroker::start(&set(&[&key]), |issuer| {
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
    let fixture = TokenBroker::start(&set(&[&key]), |_| {}).await?;
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
            let (status, _) = judge(address, version, &headers).await?;
            assert_eq!(status, 400, "which of the two would another program use?");
        }
    }
    let split = [("Authorization", &*format!("Bearer {token}\r\n x"))];
    let folded = judge(address, Version::Http1, &split).await?;
    ensure!([400, 401].contains(&folded.0), "a folded header: {folded:?}");
    Ok(())
}
