//! TLS: the certificate of a broker, and what becomes of it when its files change.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::broker_status::{AccessReason, BrokerStatus, PATH};
use eventcast_tests::{
    broker::Cli,
    eventually,
    http::{Publish, Version, client},
    process,
    tls::{Issued, KeyFiles, Socket, client_config},
    wire::{BrokerWithNats, HTTP_VERSIONS},
};
use futures_util::future::try_join_all;
use rustls::pki_types::CertificateDer;
use tokio::{io::AsyncReadExt as _, net::TcpStream, sync::watch, time::sleep};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);

/// The certificate that the broker shows to a new client.
async fn shown(broker: &BrokerWithNats) -> Result<CertificateDer<'static>> {
    let socket = TcpStream::connect(broker.secure_address()).await?;
    let Socket::Tls(stream) = Socket::tls(socket, client_config(&["http/1.1"])).await? else {
        unreachable!("it has TLS")
    };
    let certificates = stream.get_ref().1.peer_certificates().context("no certificate")?;
    Ok(certificates[0].clone().into_owned())
}

async fn problem(broker: &BrokerWithNats) -> Result<Option<AccessReason>> {
    let answer = client(Version::Http1).get(broker.admin_url(PATH)).send().await?;
    let status: BrokerStatus = answer.json().await?;
    Ok(status.certificate.map(|problem| problem.reason))
}

async fn expect_problem(broker: &BrokerWithNats, wanted: Option<AccessReason>) -> Result<()> {
    eventually(&format!("{wanted:?}"), WAIT_TIMEOUT, || async {
        let found = problem(broker).await?;
        ensure!(found == wanted, "it is {found:?}");
        Ok(())
    })
    .await
}

/// New certificates are used by new connections, unusable ones are not; no connection is lost, and no event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_under_load() -> Result<()> {
    let mut files = KeyFiles::empty()?;
    let first = Issued::new()?;
    files.put(&first)?;
    let broker = BrokerWithNats::start(|config| config.tls = Some(files.config())).await?;
    let mut streams = Vec::new();
    for n in 0..40 {
        streams.push(broker.open_stream(HTTP_VERSIONS[n % 2], "").await?);
    }
    let (stop, mut stopped) = watch::channel(false);
    let url = broker.events_url("");
    let publishing = tokio::spawn(async move {
        let (http, mut count) = (client(Version::Http1), 0);
        while !*stopped.borrow_and_update() {
            let answer = Publish::new(format!("event {count}")).send(&http, &url).await?;
            ensure!(answer.status == 201, "{answer:?}");
            count += 1;
            sleep(Duration::from_millis(5)).await;
        }
        Ok(count)
    });
    assert_eq!(shown(&broker).await?, first.der);
    expect_problem(&broker, None).await?;

    let second = Issued::new()?;
    files.put(&second)?;
    eventually("the second certificate", WAIT_TIMEOUT, || async {
        ensure!(shown(&broker).await? == second.der, "still the first one");
        anyhow::Ok(())
    })
    .await?;

    let (other, expired) = (Issued::new()?, Issued::valid_for(-2)?);
    let cut = &other.certificate[..other.certificate.len() / 2];
    let invalid = AccessReason::CertificateInvalid;
    for (what, certificate, key, reason) in [
        ("mismatched", Some(&*other.certificate), Some(&*first.key), invalid),
        ("expired", Some(&expired.certificate), Some(&expired.key), invalid),
        ("empty", Some(""), Some(""), invalid),
        ("truncated", Some(cut), Some(&other.key), invalid),
        ("no key", Some(&other.certificate), Some(&other.certificate), invalid),
        ("missing", None, Some(&other.key), AccessReason::SecretMissing),
    ] {
        files.put(&second)?;
        expect_problem(&broker, None).await.context(what)?;
        files.write(certificate, key)?;
        expect_problem(&broker, Some(reason)).await.context(what)?;
        assert_eq!(shown(&broker).await?, second.der, "{what}");
    }
    let log = broker.log();
    ensure!(log.matches("keeping the last valid one").count() == 6, "once for each change: {log}");
    ensure!(!log.contains(&other.key[30..60]), "a key in the log");
    let rejected = [("outcome", "rejected")];
    assert_eq!(broker.metric("eventcast_certificate_reloads_total", &rejected).await?, 6.0);

    files.put(&other)?;
    expect_problem(&broker, None).await?;
    assert_eq!(shown(&broker).await?, other.der);

    stop.send(true)?;
    let count: u64 = publishing.await??;
    ensure!(count > 100, "hardly any load: {count}");
    let reading = streams.into_iter().map(|mut stream| async move {
        for n in 0..count {
            assert_eq!(stream.data().await?, format!("event {n}"));
        }
        anyhow::Ok(())
    });
    try_join_all(reading).await?;
    Ok(())
}

/// A Secret that is missing must not keep brokers from starting.
#[tokio::test]
async fn a_broker_without_a_certificate_starts_and_heals() -> Result<()> {
    let mut files = KeyFiles::empty()?;
    let broker = BrokerWithNats::start(|config| config.tls = Some(files.config())).await?;
    expect_problem(&broker, Some(AccessReason::SecretMissing)).await?;
    let mut socket = TcpStream::connect(broker.secure_address()).await?;
    let mut hello = Vec::new();
    let name = "localhost".try_into()?;
    let config = std::sync::Arc::new(client_config(&["http/1.1"]));
    rustls::ClientConnection::new(config, name)?.write_tls(&mut hello)?;
    tokio::io::AsyncWriteExt::write_all(&mut socket, &hello).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 80], "an alert: internal_error");
    drop(socket);
    let (refused, one) = ([("outcome", "no-certificate")], |n| n == 1.0);
    broker.wait_for_metric("eventcast_tls_handshakes_total", &refused, WAIT_TIMEOUT, one).await?;
    ensure!(broker.log().contains("there is no usable certificate"), "{}", broker.log());
    assert_eq!(broker.metric("eventcast_certificate_expiry_seconds", &[]).await?, 0.0);

    files.put(&Issued::valid_for(13)?)?;
    expect_problem(&broker, Some(AccessReason::CertificateExpiring)).await?;
    let mut stream = broker.open_stream(Version::Http1, "").await?;
    let expiry = broker.metric("eventcast_certificate_expiry_seconds", &[]).await?;
    let left = expiry - jiff::Timestamp::now().as_second() as f64;
    ensure!((11.0..=13.0).contains(&(left / 86_400.0)), "{left} seconds");
    files.put(&Issued::valid_for(60)?)?;
    expect_problem(&broker, None).await?;
    broker.publish("still here").await?;
    assert_eq!(stream.data().await?, "still here");
    Ok(())
}

#[tokio::test]
async fn check_reports_certificate_files_that_cannot_be_used() -> Result<()> {
    let folder = process::folder("eventcast-check-")?;
    let config = folder.path().join("config.yaml");
    let (good, other, expired) = (Issued::new()?, Issued::new()?, Issued::valid_for(-2)?);
    for (certificate, key, words) in [
        (&*good.certificate, &*good.key, ""),
        (&good.certificate, &other.key, "tls: the private key does not belong to the certificate"),
        (&expired.certificate, &expired.key, "tls.certificateFile: the certificate expired at 20"),
        ("", &good.key, "tls: the certificate file has no certificate"),
        (&good.certificate, "", "tls: the key file has no private key"),
        ("none", "none", "tls.keyFile: failed to read "),
    ] {
        let mut files = KeyFiles::empty()?;
        match certificate {
            "none" => files.write(None, None)?,
            _ => files.write(Some(certificate), Some(key))?,
        }
        let tls = serde_json::to_string(&files.config())?;
        let text = format!("channels: [{{namespace: a, name: b}}]\ntls: {tls}\n");
        fs::write(&config, text)?;
        let said = Cli::new(&["check", "--config"]).arg(&config).output(WAIT_TIMEOUT).await?;
        assert_eq!(said.status.success(), words.is_empty(), "{words}: {}", said.stderr);
        ensure!(said.stderr.contains(words), "{words:?} not in {}", said.stderr);
    }
    Ok(())
}

/// RSA costs seven times as much: it works, and its owner is told so once.
#[tokio::test]
async fn a_certificate_with_an_rsa_key_is_served_and_warned_of() -> Result<()> {
    let mut files = KeyFiles::empty()?;
    let rsa = Issued::with_key_of(include_str!("../../src/access/rsa.pem"))?;
    files.put(&rsa)?;
    let broker = BrokerWithNats::start(|config| config.tls = Some(files.config())).await?;
    assert_eq!(shown(&broker).await?, rsa.der);
    let renewed = Issued::with_key_of(&rsa.key)?;
    files.put(&renewed)?;
    eventually("the renewed certificate", WAIT_TIMEOUT, || async {
        ensure!(shown(&broker).await? == renewed.der, "still the first one");
        anyhow::Ok(())
    })
    .await?;
    let log = broker.log();
    assert_eq!(log.matches("the certificate has an RSA key").count(), 1, "{log}");
    Ok(())
}
