//! Client certificates as credentials: what their names may do, and when they count.

mod world;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::{Access, Action, SubscribeRule};
use eventcast_tests::{
    eventually,
    http::{Http1Connection, Version},
    issuer::Issuer,
    tls::{Socket, TLS_VERSIONS, client_config_of, client_config_with},
    wire::{EVENTS, HTTP_VERSIONS, Http2Connection, RawResponse},
};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use self::world::World;

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
const ACCESS: &str = "/channels/default/demo/access";
const SUBSCRIBERS: &str = "/channels/default/demo/subscribers";

#[tokio::test]
async fn a_certificate_reads_publishes_and_manages_as_its_rule_says() -> Result<()> {
    let world = World::start(|_| {}).await?;
    let device = world.authority.client(&["DNS:m-7.devices.example.com"])?;
    let other = world.authority.client(&["DNS:m-8.devices.example.com"])?;
    let orders = world.authority.client(&["URI:spiffe://shop.example/ns/eu/sa/orders"])?;
    let admin = world.authority.client(&["URI:spiffe://shop.example/ns/ops/sa/admin"])?;
    let topic = "device.m-7%2Edevices%2Eexample%2Ecom";
    let own = format!("{EVENTS}?topic={}", topic.replace('%', "%25"));
    for version in HTTP_VERSIONS {
        let mut told = world.send(version, Some(&device), ("GET", ACCESS), &[]).await?;
        let told = told.json().await?;
        ensure!(told["way"] == "certificate" && told["issuer"] == "certificates", "{told}");
        ensure!(told["subject"] == "m-7.devices.example.com", "{told}");
        ensure!(told["subscribe"]["topics"] == json!([topic]), "{told}");
        ensure!(told["expires_at"] == "2100-01-01T00:00:00Z", "{told}");

        let mut stream = world.stream(version, &device).await?;
        let mut all = world.stream(version, &admin).await?;
        for (who, certificate, target, status) in [
            ("its own topic", Some(&device), &*own, 201),
            ("the topic of another", Some(&other), &own, 403),
            ("a broadcast", Some(&device), EVENTS, 403),
            ("a service", Some(&orders), &format!("{EVENTS}?topic=order.1"), 201),
            ("a reader", Some(&admin), &own, 403),
            ("nobody", None, &own, 401),
        ] {
            let answer = world.send(version, certificate, ("POST", target), &[]).await?;
            ensure!(answer.head.status == status, "{who}: {:?}", answer.head);
        }
        assert_eq!(stream.data().await?, "x");
        assert_eq!((all.data().await?, all.data().await?), ("x".into(), "x".into()));
        let history = [("Accept", "application/json")];
        let last = format!("{EVENTS}?order=desc&limit=1");
        let mut page = world.send(version, Some(&admin), ("GET", &last), &history).await?;
        let page = page.json().await?;
        let source = &page["events"][0]["source"];
        ensure!(*source == "spiffe://shop.example/ns/eu/sa/orders", "{page}");
        for (certificate, status) in [(&device, 200), (&orders, 403)] {
            let page = world.send(version, Some(certificate), ("GET", &last), &history).await?;
            assert_eq!(page.head.status, status);
        }
        for (certificate, status) in [(&admin, 200), (&device, 403)] {
            let list = world.send(version, Some(certificate), ("GET", SUBSCRIBERS), &[]).await?;
            assert_eq!(list.head.status, status);
        }
    }
    let refused = [("way", "certificate"), ("outcome", "not-granted")];
    ensure!(world.broker.metric("eventcast_access_total", &refused).await? >= 6.0, "counted");
    ensure!(world.broker.log().contains("way=\"certificate\""), "logged");
    Ok(())
}

/// URIs come before DNS names; what names nobody for certain is refused; a name without a rule may do nothing, also where all others may read.
#[tokio::test]
async fn the_name_of_a_certificate_is_certain_or_it_is_refused() -> Result<()> {
    let world =
        World::start(|config| config.channels[0].access.anonymous = vec![Action::Subscribe])
            .await?;
    let service = "spiffe://shop.example/ns/eu/sa/orders";
    for (names, wanted) in [
        (&["DNS:M-7.Devices.Example.com"][..], (200, "m-7.devices.example.com")),
        (&["DNS:a.devices.example.com", "DNS:b.example.com"], (200, "a.devices.example.com")),
        (&["DNS:a.devices.example.com", &format!("URI:{service}")], (200, service)),
        (&["URI:spiffe://shop.example/x"], (200, "spiffe://shop.example/x")),
        (&["DNS:a.b.devices.example.com"], (200, "a.b.devices.example.com")),
        (&["URI:spiffe://a/x", "URI:spiffe://a/y"], (401, "name")),
        (&["URI:x:a\nb"], (401, "name")),
        (&["URI:m-7.devices.example.com"], (401, "name")),
        (&[], (401, "name")),
    ] {
        let certificate = world.authority.client(names)?;
        let judged = world.judge(Some(&certificate), &[]).await?;
        assert_eq!(judged, (wanted.0, wanted.1.to_owned()), "{names:?}");
    }
    for name in ["DNS:a.b.devices.example.com", "DNS:devices.example.com", "URI:spiffe://x/y"] {
        let certificate = world.authority.client(&[name])?;
        for version in HTTP_VERSIONS {
            let answer = world.send(version, Some(&certificate), ("GET", EVENTS), &[]).await?;
            assert_eq!(
                answer.expect_problem(403).await?["type"],
                "urn:eventcast:problem:not-granted"
            );
            let anyone = world.send(version, None, ("GET", EVENTS), &[]).await?;
            assert_eq!(anyone.head.status, 200);
        }
    }
    Ok(())
}

/// An authority may sign any name. It stays one segment, and no pattern.
#[tokio::test]
async fn hostile_names_reach_nobody_elses_topics() -> Result<()> {
    let world = World::start(|config| {
        for rule in &mut config.channels[0].access.certificates {
            rule.names.clear();
            rule.manage = false;
            rule.subscribe =
                Some(SubscribeRule { topics: vec!["device.{name}".into()], broadcast: false });
        }
    })
    .await?;
    for name in
        ["URI:x:>", "URI:x:*", "URI:x:a.b", "URI:x:%2E", "DNS:*.example.com", "URI:x:{name}"]
    {
        let certificate = world.authority.client(&[name])?;
        let mut told = world.send(Version::Http1, Some(&certificate), ("GET", ACCESS), &[]).await?;
        let told = told.json().await?;
        let topics = told["subscribe"]["topics"].as_array().context("no topics")?;
        let topic = topics[0].as_str().unwrap_or_default();
        ensure!(topics.len() == 1 && topic.split('.').count() == 2, "{name}: {told}");
        ensure!(!matches!(topic, "device.*" | "device.>"), "{name}: {told}");
        for foreign in ["device.x", "device.a", "device.%3E", "device.*.*"] {
            let target = format!("{EVENTS}?topic={foreign}");
            let history = [("Accept", "application/json")];
            let answer =
                world.send(Version::Http2, Some(&certificate), ("GET", &target), &history).await?;
            let narrowed = foreign == "device.%3E" && answer.head.status == 200;
            ensure!(narrowed || answer.head.status == 403, "{name} {foreign}: {:?}", answer.head);
        }
    }
    Ok(())
}

/// A credential in the request decides, good or bad; a page counts as with cookies.
#[tokio::test]
async fn a_certificate_never_helps_a_bad_credential() -> Result<()> {
    let issuer = Issuer::new()?;
    let world = World::start(|config| {
        let access = &mut config.channels[0].access;
        access.tokens = vec![issuer.trusted()];
        access.anonymous = vec![Action::Subscribe];
        access.allowed_origins = vec!["https://app.example.com".into()];
        access.allow_credentials = true;
    })
    .await?;
    let device = world.authority.client(&["DNS:m-7.devices.example.com"])?;
    let name = "m-7.devices.example.com";
    let good = format!("Bearer {}", issuer.user("ann"));
    let expired = format!("Bearer {}", issuer.token("ann", -10, json!({})));
    for (headers, wanted) in [
        (&[][..], (200, name)),
        (&[("Authorization", &*good)], (200, "ann")),
        (&[("Authorization", &expired)], (401, "expired")),
        (&[("Authorization", "Bearer x")], (401, "form")),
        (&[("Authorization", "Basic x")], (401, "scheme")),
        (&[("Cookie", "a=b")], (200, name)),
        (&[("Origin", "https://app.example.com"), ("Sec-Fetch-Mode", "cors")], (200, name)),
        (&[("Origin", "https://evil.example"), ("Sec-Fetch-Mode", "cors")], (401, "origin")),
        (&[("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Site", "cross-site")], (401, "origin")),
        (&[("Sec-Fetch-Mode", "navigate")], (401, "origin")),
        (&[("Sec-Fetch-Site", "cross-site")], (401, "origin")),
    ] {
        let judged = world.judge(Some(&device), headers).await?;
        assert_eq!(judged, (wanted.0, wanted.1.to_owned()), "{headers:?}");
    }
    for (query, check) in [
        ("ticket=evt_AAAA", "form"),
        ("credentials=cookie", "no-cookie"),
        ("access_token=x", "token-in-url"),
    ] {
        let target = format!("{ACCESS}?{query}");
        let answer = world.send(Version::Http2, Some(&device), ("GET", &target), &[]).await?;
        let problem = answer.expect_problem(401).await?;
        ensure!(problem["check"] == check || query.starts_with("ticket"), "{query}: {problem}");
    }
    Ok(())
}

/// The certificate ends in mid-stream: notice, renewal by a newer one of the same name, closing. Then its connection is refused.
#[tokio::test]
async fn a_grant_ends_with_its_certificate() -> Result<()> {
    let world = World::start(|_| {}).await?;
    try_join_all(HTTP_VERSIONS.map(|version| live_to_the_end(&world, version))).await?;
    Ok(())
}

async fn live_to_the_end(world: &World, version: Version) -> Result<()> {
    let names = ["DNS:m-7.devices.example.com"];
    let short = world.authority.client_between(&names, -60, 10)?;
    let longer = world.authority.client_between(&names, -60, 15)?;
    let foreign = world.authority.client(&["DNS:m-8.devices.example.com"])?;
    let began = Instant::now();
    let mut one = Http1Connection::over(world.connect(Version::Http1, Some(&short)).await?);
    one.send(format!("GET {ACCESS} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
    assert_eq!(one.read_head().await?.status, 200);
    one.body().await?;
    let socket = world.connect(Version::Http2, Some(&short)).await?;
    let mut two = Http2Connection::over(socket, &h2::client::Builder::new()).await?;
    assert_eq!(two.request("GET", ACCESS, &[], b"").await?.head.status, 200);
    let mut ends = world.stream(version, &short).await?;
    let mut stays = world.stream(version, &short).await?;
    let told = stays.control_event("eventcast.expiring").await?;
    let renew = told["renew"].as_str().context("no path")?;
    let renewed = world.send(version, Some(&longer), ("POST", renew), &[]).await?;
    assert_eq!(renewed.head.status, 200);
    let refused = world.send(version, Some(&foreign), ("POST", renew), &[]).await?;
    assert_eq!(refused.head.status, 403, "another name");
    assert_eq!(ends.read_closing().await?.0, "expired");
    let lasted = began.elapsed();
    ensure!((8500..13_000).contains(&lasted.as_millis()), "{lasted:?}");
    // Connections from before its end say so, and close: a pool would use them for ever, and never present a renewed certificate.
    one.send(format!("GET {ACCESS} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
    assert_eq!(one.read_head().await?.status, 401);
    let problem: Value = serde_json::from_slice(&one.body().await?)?;
    assert_eq!(problem["check"], "expired");
    one.closed().await?;
    let refused = two.request("GET", ACCESS, &[], b"").await?;
    assert_eq!(refused.expect_problem(401).await?["check"], "expired");
    timeout(WAIT_TIMEOUT, &mut two.connection).await.context("still open")??.ok();
    assert_eq!(stays.read_closing().await?.0, "expired");
    ensure!(began.elapsed() > Duration::from_secs(13), "renewed: {:?}", began.elapsed());
    Ok(())
}

/// Who was disconnected stays out with the certificates that were valid then, and comes back with a newer one.
#[tokio::test]
async fn a_revoked_subject_needs_a_newer_certificate() -> Result<()> {
    let world = World::start(|_| {}).await?;
    let admin = world.authority.client(&["URI:spiffe://shop.example/ns/ops/sa/admin"])?;
    let names = ["DNS:m-7.devices.example.com"];
    let old = world.authority.client_between(&names, -60, 600)?;
    let other = world.authority.client(&["DNS:m-8.devices.example.com"])?;
    let mut streams = Vec::new();
    for version in HTTP_VERSIONS {
        streams.push(world.stream(version, &old).await?);
    }
    let target = format!("{SUBSCRIBERS}?subject=m-7.devices.example.com");
    let mut kick = world.send(Version::Http1, Some(&admin), ("DELETE", &target), &[]).await?;
    assert_eq!(kick.json().await?["closed"], 2);
    for stream in &mut streams {
        assert_eq!(stream.read_closing().await?.0, "revoked");
    }
    assert_eq!(world.judge(Some(&old), &[]).await?, (401, "revoked".into()));
    assert_eq!(world.judge(Some(&other), &[]).await?.0, 200);
    eventually("a certificate of a later second is good", WAIT_TIMEOUT, || async {
        let new = world.authority.client_between(&names, 0, 600)?;
        let judged = world.judge(Some(&new), &[]).await?;
        ensure!(judged.0 == 200, "{judged:?}");
        Ok(())
    })
    .await?;
    assert_eq!(world.judge(Some(&old), &[]).await?, (401, "revoked".into()));
    Ok(())
}

#[tokio::test]
async fn a_certificate_has_the_quota_of_its_rule_and_tickets() -> Result<()> {
    let world = World::start(|_| {}).await?;
    let orders = world.authority.client(&["URI:spiffe://shop.example/ns/eu/sa/orders"])?;
    let target = format!("{EVENTS}?topic=order.1");
    let send = || world.send(Version::Http2, Some(&orders), ("POST", &target), &[]);
    let answers = try_join_all((0..12).map(|_| send())).await?;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.head.status).collect();
    ensure!(statuses.contains(&201) && statuses.contains(&429), "{statuses:?}");
    let device = world.authority.client(&["DNS:m-7.devices.example.com"])?;
    let socket = world.connect(Version::Http1, Some(&device)).await?;
    let target = "/channels/default/demo/tickets";
    let mut taken = RawResponse::over(Version::Http1, socket, "POST", target, &[], b"{}").await?;
    let taken = taken.json().await?;
    let url = taken["url"].as_str().with_context(|| format!("no ticket: {taken}"))?;
    let headers = [("Accept", "text/event-stream")];
    let stream = world.send(Version::Http1, None, ("GET", url), &headers).await?;
    assert_eq!(stream.head.status, 200);
    assert_eq!(
        stream.head.header("eventcast-topics"),
        Some("device.m-7%252Edevices%252Eexample%252Ecom, (broadcast)")
    );
    Ok(())
}

/// A channel that has no rules for certificates does not look at them.
#[tokio::test]
async fn a_channel_without_rules_treats_a_certificate_as_none() -> Result<()> {
    let world = World::start(|config| config.channels[0].access = Access::open()).await?;
    let device = world.authority.client(&["DNS:m-7.devices.example.com"])?;
    for tls in TLS_VERSIONS {
        for certificate in [Some(&device), None] {
            let socket = TcpStream::connect(world.broker.secure_address()).await?;
            let alpn = [Version::Http1.alpn()];
            let config = match certificate {
                Some(certificate) => client_config_with(&alpn, &[tls], certificate)?,
                None => client_config_of(&alpn, &[tls]),
            };
            let socket = Socket::tls(socket, config).await?;
            let mut told =
                RawResponse::over(Version::Http1, socket, "GET", ACCESS, &[], b"").await?;
            assert_eq!(told.json().await?["way"], "anonymous");
        }
    }
    Ok(())
}
