//! TLS with client certificates: which end a handshake, what becomes of them when the authorities change, and resumed sessions.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{
    broker_status::{AccessReason, BrokerStatus, PATH},
    config::{Access, Action, CertificateRule, SubscribeRule},
};
use eventcast_tests::{
    broker::Cli,
    eventually,
    http::{Http1Connection, Version, client},
    process,
    tls::{
        Authority, Issued, KeyFiles, Socket, TLS_VERSIONS, client_config_of, client_config_with,
    },
    wire::{BrokerWithNats, EVENTS},
};
use rcgen::{ExtendedKeyUsagePurpose, IsCa};
use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, SupportedProtocolVersion, client::Resumption,
};
use serde_json::Value;
use tokio::net::TcpStream;

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
const ACCESS: &str = "/channels/default/demo/access";
const NAME: &str = "DNS:m-7.example.com";

/// A broker on which everybody may read, and clients with a certificate only what is theirs.
async fn broker(files: &KeyFiles) -> Result<BrokerWithNats> {
    let subscribe = SubscribeRule { topics: vec!["device.{name}".into()], broadcast: true };
    let rule = CertificateRule { subscribe: Some(subscribe), ..CertificateRule::default() };
    BrokerWithNats::start(|config| {
        config.tls = Some(files.config());
        config.channels[0].access = Access {
            anonymous: vec![Action::Subscribe],
            certificates: vec![rule],
            ..Access::default()
        };
    })
    .await
}

fn config(
    tls: &'static SupportedProtocolVersion,
    certificate: Option<&Issued>,
) -> Result<ClientConfig> {
    let alpn = [Version::Http1.alpn()];
    Ok(match certificate {
        Some(certificate) => client_config_with(&alpn, &[tls], certificate)?,
        None => client_config_of(&alpn, &[tls]),
    })
}

async fn connect(broker: &BrokerWithNats, config: ClientConfig) -> Result<Http1Connection> {
    let socket = TcpStream::connect(broker.secure_address()).await?;
    Ok(Http1Connection::over(Socket::tls(socket, config).await?))
}

/// The way, or the check that failed.
async fn ask(connection: &mut Http1Connection) -> Result<String> {
    connection.send(format!("GET {ACCESS} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
    connection.read_head().await?;
    let body: Value = serde_json::from_slice(&connection.body().await?)?;
    let text = body["check"].as_str().or(body["way"].as_str());
    Ok(text.with_context(|| format!("{body}"))?.to_owned())
}

/// The way in which the broker knows a new client, or the alert that it sends.
async fn knock(broker: &BrokerWithNats, config: ClientConfig) -> Result<String> {
    let told = async { ask(&mut connect(broker, config).await?).await };
    let error = match told.await {
        Ok(way) => return Ok(way),
        Err(error) => error,
    };
    let io: Option<&std::io::Error> = error.downcast_ref();
    match io.and_then(|io| io.get_ref()?.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => Ok(format!("{alert:?}")),
        _ => Err(error.context("no answer and no alert")),
    }
}

fn kind(connection: &mut Http1Connection) -> Option<HandshakeKind> {
    match connection.socket() {
        Socket::Tls(stream) => stream.get_ref().1.handshake_kind(),
        Socket::Plain(_) => unreachable!("it has TLS"),
    }
}

async fn problem(broker: &BrokerWithNats) -> Result<Option<AccessReason>> {
    let answer = client(Version::Http1).get(broker.admin_url(PATH)).send().await?;
    let status: BrokerStatus = answer.json().await?;
    ensure!(status.certificate.is_none(), "{:?}", status.certificate);
    Ok(status.client_authorities.map(|problem| problem.reason))
}

async fn expect_problem(broker: &BrokerWithNats, wanted: Option<AccessReason>) -> Result<()> {
    eventually(&format!("{wanted:?}"), WAIT_TIMEOUT, || async {
        let found = problem(broker).await?;
        ensure!(found == wanted, "it is {found:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_bad_certificate_ends_the_handshake_with_an_alert() -> Result<()> {
    let (mut files, authority) = (KeyFiles::new()?, Authority::new("clients")?);
    files.write_clients(Some(&authority.pem()))?;
    let broker = broker(&files).await?;
    let foreign = Authority::new("clients")?; // with the same name
    let server = authority.client_with(&[NAME], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    })?;
    let issuer = authority.client_with(&[NAME], |params| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    })?;
    let alert = |alert: AlertDescription| format!("{alert:?}");
    let table = [
        ("good", Some(authority.client(&[NAME])?), "certificate".to_owned(), ""),
        ("none", None, "anonymous".to_owned(), ""),
        (
            "expired",
            Some(authority.client_between(&[NAME], -60, -5)?),
            alert(AlertDescription::CertificateExpired),
            "certificate-expired",
        ),
        (
            "not yet valid",
            Some(authority.client_between(&[NAME], 600, 900)?),
            alert(AlertDescription::CertificateExpired),
            "certificate-not-yet-valid",
        ),
        (
            "for servers",
            Some(server),
            alert(AlertDescription::UnsupportedCertificate),
            "certificate-purpose",
        ),
        (
            "an authority",
            Some(issuer),
            alert(AlertDescription::CertificateUnknown),
            "certificate-invalid",
        ),
    ];
    for (what, certificate, wanted, outcome) in &table {
        for tls in TLS_VERSIONS {
            let found = knock(&broker, config(tls, certificate.as_ref())?).await.context(*what)?;
            assert_eq!(found, *wanted, "{what} {tls:?}");
        }
        if !outcome.is_empty() {
            let labels = [("outcome", *outcome)];
            assert_eq!(
                broker.metric("eventcast_tls_handshakes_total", &labels).await?,
                2.0,
                "{what}"
            );
            let line = format!("check=\"{outcome}\"");
            let log = broker.log();
            ensure!(log.contains("client certificate refused") && log.contains(&line), "{log}");
        }
    }
    for certificate in [foreign.client(&[NAME])?, Authority::new("other")?.client(&[NAME])?] {
        for tls in TLS_VERSIONS {
            let found = knock(&broker, config(tls, Some(&certificate))?).await?;
            ensure!(["UnknownCA", "DecryptError"].contains(&&*found), "{found}");
        }
    }
    let unknown = [("outcome", "certificate-authority")];
    ensure!(broker.metric("eventcast_tls_handshakes_total", &unknown).await? >= 2.0, "counted");
    ensure!(
        !broker.log().contains("m-7.example.com"),
        "what an unverified certificate says is in the log"
    );
    Ok(())
}

/// The client is who it was, until its certificate ends.
#[tokio::test]
async fn a_resumed_session_keeps_its_client_and_its_end() -> Result<()> {
    let (mut files, authority) = (KeyFiles::new()?, Authority::new("clients")?);
    files.write_clients(Some(&authority.pem()))?;
    let broker = broker(&files).await?;
    let certificate = authority.client_between(&[NAME], -60, 10)?;
    let mut expiring = Vec::new();
    for tls in TLS_VERSIONS {
        let mut with = config(tls, Some(&certificate))?;
        let mut without = config(tls, None)?;
        for config in [&mut with, &mut without] {
            config.resumption = Resumption::in_memory_sessions(8);
        }
        for wanted in [HandshakeKind::Full, HandshakeKind::Resumed] {
            for (config, way) in [(&with, "certificate"), (&without, "anonymous")] {
                let mut connection = connect(&broker, config.clone()).await?;
                assert_eq!(ask(&mut connection).await?, way, "{tls:?} {wanted:?}");
                assert_eq!(kind(&mut connection), Some(wanted), "{tls:?} {way}");
            }
        }
        expiring.push(with);
    }
    for config in expiring {
        eventually("the certificate has expired", Duration::from_secs(20), || async {
            let mut connection = connect(&broker, config.clone()).await?;
            let told = ask(&mut connection).await?;
            ensure!(kind(&mut connection) == Some(HandshakeKind::Resumed), "a full handshake");
            ensure!(told == "expired", "{told}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Another authority: new clients get in, those of the old one do not, whether they resume a session or kept their connection.
#[tokio::test]
async fn authorities_are_replaced_while_clients_are_connected() -> Result<()> {
    let (mut files, first) = (KeyFiles::new()?, Authority::new("first")?);
    files.write_clients(Some(&first.pem()))?;
    let broker = broker(&files).await?;
    let second = Authority::new("second")?;
    let (old, new) = (first.client(&[NAME])?, second.client(&[NAME])?);
    let mut resuming = Vec::new();
    let mut kept = Vec::new();
    let mut streams = Vec::new();
    for tls in TLS_VERSIONS {
        let mut config = config(tls, Some(&old))?;
        config.resumption = Resumption::in_memory_sessions(8);
        for _ in 0..2 {
            let mut connection = connect(&broker, config.clone()).await?;
            assert_eq!(ask(&mut connection).await?, "certificate");
            kept.push(connection);
        }
        assert_eq!(kind(kept.last_mut().context("one")?), Some(HandshakeKind::Resumed));
        let mut stream = connect(&broker, config.clone()).await?;
        let accept = "Accept: text/event-stream";
        stream.send(format!("GET {EVENTS} HTTP/1.1\r\nHost: a\r\n{accept}\r\n\r\n")).await?;
        assert_eq!(stream.read_head().await?.status, 200);
        streams.push(stream);
        resuming.push(config);
    }
    // Files that cannot be used change nothing.
    for (pem, reason) in [
        (Some(""), AccessReason::CertificateInvalid),
        (Some("-----BEGIN CERTIFICATE-----\nAAAA"), AccessReason::CertificateInvalid),
        (Some(&*new.key), AccessReason::CertificateInvalid),
        (None, AccessReason::SecretMissing),
    ] {
        files.write_clients(pem)?;
        expect_problem(&broker, Some(reason)).await?;
        for config in &resuming {
            assert_eq!(knock(&broker, config.clone()).await?, "certificate", "{pem:?}");
        }
        assert_eq!(ask(&mut kept[0]).await?, "certificate");
    }
    // Both authorities during the change: nobody notices.
    files.write_clients(Some(&(first.pem() + &second.pem())))?;
    expect_problem(&broker, None).await?;
    for tls in TLS_VERSIONS {
        for certificate in [&old, &new] {
            assert_eq!(knock(&broker, config(tls, Some(certificate))?).await?, "certificate");
        }
    }
    for connection in &mut kept {
        assert_eq!(ask(connection).await?, "certificate", "verified again");
    }
    let reloads = [("outcome", "applied")];
    let applied = broker.metric("eventcast_certificate_reloads_total", &reloads).await?;
    files.write_clients(Some(&second.pem()))?;
    broker
        .wait_for_metric("eventcast_certificate_reloads_total", &reloads, WAIT_TIMEOUT, |n| {
            n > applied
        })
        .await?;
    for config in &resuming {
        assert_eq!(knock(&broker, config.clone()).await?, "UnknownCA", "a session of the old one");
    }
    for connection in &mut kept {
        assert_eq!(ask(connection).await?, "authority", "a connection from before");
    }
    for tls in TLS_VERSIONS {
        assert_eq!(knock(&broker, config(tls, Some(&new))?).await?, "certificate");
        assert_eq!(knock(&broker, config(tls, None)?).await?, "anonymous");
    }
    // Streams end with their certificates, as those of tokens whose key was removed do.
    assert_eq!(broker.metric("eventcast_subscribers", &[]).await?, streams.len() as f64);
    Ok(())
}

/// Whoever has a certificate must not become anonymous because the Secret is missing; all others are served.
#[tokio::test]
async fn a_broker_without_authorities_serves_those_without_certificates() -> Result<()> {
    let (mut files, authority) = (KeyFiles::new()?, Authority::new("clients")?);
    files.write_clients(None)?;
    let broker = broker(&files).await?;
    expect_problem(&broker, Some(AccessReason::SecretMissing)).await?;
    let certificate = authority.client(&[NAME])?;
    for tls in TLS_VERSIONS {
        assert_eq!(knock(&broker, config(tls, None)?).await?, "anonymous");
        assert_eq!(knock(&broker, config(tls, Some(&certificate))?).await?, "UnknownCA");
    }
    files.write_clients(Some(&authority.pem()))?;
    expect_problem(&broker, None).await?;
    for tls in TLS_VERSIONS {
        assert_eq!(knock(&broker, config(tls, Some(&certificate))?).await?, "certificate");
    }
    let folder = process::folder("eventcast-check-")?;
    let file = folder.path().join("config.yaml");
    for (pem, says) in [
        (Some(authority.pem()), ""),
        (Some(String::new()), "tls.clientCaFile: it has no certificate"),
        (None, "tls.clientCaFile: failed to read "),
    ] {
        files.write_clients(pem.as_deref())?;
        let tls = serde_json::to_string(&files.config())?;
        std::fs::write(&file, format!("channels: [{{namespace: a, name: b}}]\ntls: {tls}\n"))?;
        let said = Cli::new(&["check", "--config"]).arg(&file).output(WAIT_TIMEOUT).await?;
        assert_eq!(said.status.success(), says.is_empty(), "{says}: {}", said.stderr);
        ensure!(said.stderr.contains(says), "{says:?} not in {}", said.stderr);
    }
    Ok(())
}
