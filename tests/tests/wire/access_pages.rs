//! Web pages: cookies count only where the URL asks for them and the page may, and errors can be read across origins.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::{Access, Action};
use eventcast_tests::{
    broker::Broker,
    http::{Answer, Version, client},
    init_tracing,
    issuer::Issuer,
    nats::NatsServer,
};
use reqwest::Response;

const STATS: &str = "/channels/default/demo/stats?credentials=cookie";
const PAGE: &str = "https://app.example.com";

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

async fn broker(nats: &NatsServer, issuer: &Issuer) -> Result<Broker> {
    let token = issuer.trusted();
    Broker::start(&nats.url(), |config| {
        config.channels[0].access = Access {
            anonymous: vec![Action::Subscribe],
            anonymous_topics: vec!["public.>".into()],
            tokens: vec![token],
            allowed_origins: vec!["https://*.example.com".into()],
            allow_credentials: true,
            ..Access::default()
        };
    })
    .await
}

async fn get(broker: &Broker, path: &str, headers: Headers<'_>) -> Result<Response> {
    let mut request = client(Version::Http1).get(broker.url(path)).timeout(Duration::from_secs(5));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.send().await?)
}

/// 27 and 34: a cookie counts for the pages that may use it, and what should come in a cookie is never treated as absent.
#[tokio::test]
async fn g34_a_cookie_counts_where_the_url_and_the_page_say_so() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    let cookie = format!("__Host-eventcast={}", issuer.user("ann"));
    let twice = format!("{cookie}; a=b; {cookie}");
    let named_otherwise = cookie.replacen("__Host-", "\u{a0}__Host-", 1).replace('\u{a0}', "$");
    let expired = format!("__Host-eventcast={}", issuer.token("ann", -60, serde_json::json!({})));
    let own = format!("http://{}", broker.address());
    let cases: [(Headers<'_>, u16, &str); 18] = [
        (&[("cookie", &cookie)], 200, "not a browser"),
        (&[("cookie", &cookie), ("origin", PAGE)], 200, "an allowed page"),
        (&[("cookie", &cookie), ("origin", &own)], 200, "a page of this server"),
        (
            &[("cookie", &cookie), ("sec-fetch-site", "same-origin")],
            200,
            "the same, without Origin",
        ),
        (&[("cookie", &format!("a=b;\t{cookie} "))], 200, "among others"),
        (&[("cookie", &cookie), ("origin", "https://evil.example")], 401, "a foreign page"),
        (&[("cookie", &cookie), ("origin", "https://example.com")], 401, "the bare domain"),
        (
            &[("cookie", &cookie), ("origin", "https://app.example.com.evil.example")],
            401,
            "looks alike",
        ),
        (&[("cookie", &cookie), ("origin", "http://app.example.com")], 401, "another scheme"),
        (&[("cookie", &cookie), ("origin", "https://app.example.com:8443")], 401, "another port"),
        (&[("cookie", &cookie), ("origin", "null")], 401, "null"),
        (&[("cookie", &cookie), ("sec-fetch-site", "cross-site")], 401, "no Origin, another site"),
        (&[("cookie", &cookie), ("sec-fetch-mode", "navigate")], 401, "navigation"),
        (&[("cookie", &cookie), ("sec-fetch-mode", "no-cors")], 401, "an image"),
        (&[("cookie", &twice)], 401, "tossed"),
        (&[("cookie", &named_otherwise)], 401, "another name"),
        (&[("cookie", &expired)], 401, "expired"),
        (&[], 401, "deleted"),
    ];
    for (headers, status, why) in cases {
        let answer = Answer::read(get(&broker, STATS, headers).await?).await?;
        ensure!(answer.status == status, "{why}: {} {}", answer.status, answer.json);
    }
    let ignored = get(&broker, "/channels/default/demo/access", &[("cookie", &cookie)]).await?;
    let ignored = Answer::read(ignored).await?;
    ensure!(ignored.json["way"] == "anonymous", "the URL does not ask for it: {}", ignored.json);
    Ok(())
}

/// 34: a page can read why it was refused, and a preflight allows Authorization.
#[tokio::test]
async fn g34_refusals_can_be_read_by_pages() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    let refused = get(&broker, STATS, &[("origin", PAGE), ("authorization", "Bearer x")]).await?;
    ensure!(refused.status() == 401, "{}", refused.status());
    let header = |answer: &Response, name: &str| {
        answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
    };
    ensure!(header(&refused, "access-control-allow-origin") == PAGE, "readable");
    ensure!(header(&refused, "access-control-allow-credentials") == "true", "with credentials");
    ensure!(
        header(&refused, "access-control-expose-headers").contains("www-authenticate"),
        "exposed"
    );
    ensure!(header(&refused, "cache-control") == "no-store", "not cached");
    ensure!(header(&refused, "vary").contains("Origin"), "by origin");
    let url = broker.url("/channels/default/demo/tickets");
    let preflight = client(Version::Http1).request("OPTIONS".parse()?, url).header("Origin", PAGE);
    let preflight = preflight
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization")
        .send()
        .await?;
    ensure!(preflight.status() == 204, "{}", preflight.status());
    ensure!(
        header(&preflight, "access-control-allow-headers").contains("authorization"),
        "allowed"
    );
    Ok(())
}

/// 35: a foreign page gets no ticket; an allowed one gets it in a cookie that scripts cannot read.
#[tokio::test]
async fn g35_a_foreign_page_gets_no_ticket() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    let cookie = format!("__Host-eventcast={}", issuer.user("ann"));
    let take = |origin: Option<&'static str>, site: Option<&'static str>| {
        let url = broker.url("/channels/default/demo/tickets?credentials=cookie");
        let mut post = client(Version::Http1).post(url).header("Cookie", &cookie);
        for (name, value) in [("Origin", origin), ("Sec-Fetch-Site", site)] {
            post = value.into_iter().fold(post, |post, value| post.header(name, value));
        }
        post.body(r#"{"as":"cookie"}"#).send()
    };
    ensure!(take(Some("https://evil.example"), None).await?.status() == 403, "a foreign page");
    ensure!(take(None, None).await?.status() == 401, "without Origin");
    for (site, attribute) in
        [("same-site", "SameSite=Lax"), ("cross-site", "SameSite=None; Partitioned")]
    {
        let taken = take(Some(PAGE), Some(site)).await?;
        ensure!(taken.status() == 204, "{}", taken.status());
        let set = taken.headers().get("set-cookie").context("a cookie")?.to_str()?.to_owned();
        ensure!(set.starts_with("__Host-eventcast=evt_"), "{set}");
        for part in ["; Path=/;", "; HttpOnly;", "; Secure;", attribute] {
            ensure!(set.contains(part), "{part} in {set}");
        }
        ensure!(!set.contains("Max-Age"), "{set}");
        let ticket = set.split(';').next().unwrap_or_default();
        let used = get(&broker, STATS, &[("cookie", ticket), ("origin", PAGE)]).await?;
        ensure!(used.status() == 200, "{}", used.status());
    }
    Ok(())
}

/// A token in the URL is refused rather than ignored: an ignored one would make its client anonymous.
#[tokio::test]
async fn a_token_in_the_url_is_refused() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    for name in ["access_token", "authorization"] {
        let path = format!("/channels/default/demo/stats?{name}={}", issuer.user("ann"));
        let answer = Answer::read(get(&broker, &path, &[]).await?).await?;
        ensure!(answer.status == 401 && answer.json["check"] == "token-in-url", "{}", answer.json);
    }
    Ok(())
}
