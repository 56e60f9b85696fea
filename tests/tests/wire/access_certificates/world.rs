//! A broker that knows an authority of clients, and its clients.

use anyhow::{Result, ensure};
use eventcast_crds::config::{
    Access, BrokerConfig, CertificateRule, PublishRule, Quota, SubscribeRule,
};
use eventcast_tests::{
    http::Version,
    tls::{Authority, Issued, KeyFiles, Socket, TLS_VERSIONS, client_config, client_config_with},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use tokio::net::TcpStream;

use super::ACCESS;

/// A broker, and the authority of its clients.
pub(super) struct World {
    pub(super) broker: BrokerWithNats,
    pub(super) authority: Authority,
    _files: KeyFiles,
}

/// Devices read and publish their own topic, services publish orders, and one service manages.
fn rules() -> Vec<CertificateRule> {
    let topics = |topic: &str| vec![topic.to_owned()];
    vec![
        CertificateRule {
            names: topics("spiffe://shop.example/ns/ops/sa/admin"),
            subscribe: Some(SubscribeRule { topics: topics(">"), broadcast: true }),
            manage: true,
            ..CertificateRule::default()
        },
        CertificateRule {
            names: topics("spiffe://shop.example/ns/*/sa/orders"),
            publish: Some(PublishRule {
                topics: topics("order.*"),
                source: Some("{name}".into()),
                ..PublishRule::default()
            }),
            quota: Some("few".into()),
            ..CertificateRule::default()
        },
        CertificateRule {
            names: topics("*.devices.example.com"),
            subscribe: Some(SubscribeRule { topics: topics("device.{name}"), broadcast: true }),
            publish: Some(PublishRule {
                topics: topics("device.{name}"),
                ..PublishRule::default()
            }),
            ..CertificateRule::default()
        },
    ]
}

impl World {
    /// Starts both. The channel has [`rules`], and `change` sees the configuration.
    pub(super) async fn start(change: impl FnOnce(&mut BrokerConfig)) -> Result<Self> {
        let (mut files, authority) = (KeyFiles::new()?, Authority::new("clients")?);
        files.write_clients(Some(&authority.pem()))?;
        let broker = BrokerWithNats::start(|config| {
            config.tls = Some(files.config());
            let few = Quota { name: "few".into(), publishes_per_second: 3, ..Quota::default() };
            config.channels[0].access =
                Access { certificates: rules(), quotas: vec![few], ..Access::default() };
            change(config);
        })
        .await?;
        Ok(Self { broker, authority, _files: files })
    }

    /// A socket of a client with this certificate.
    pub(super) async fn connect(
        &self,
        version: Version,
        certificate: Option<&Issued>,
    ) -> Result<Socket> {
        let socket = TcpStream::connect(self.broker.secure_address()).await?;
        let alpn = [version.alpn()];
        let config = match certificate {
            Some(certificate) => client_config_with(&alpn, &TLS_VERSIONS, certificate)?,
            None => client_config(&alpn),
        };
        Socket::tls(socket, config).await
    }

    /// Sends a request over a connection of its own.
    pub(super) async fn send(
        &self,
        version: Version,
        certificate: Option<&Issued>,
        (method, target): (&str, &str),
        headers: &[(&str, &str)],
    ) -> Result<RawResponse> {
        let socket = self.connect(version, certificate).await?;
        let body: &[u8] = if method == "POST" { b"x" } else { b"" };
        RawResponse::over(version, socket, method, target, headers, body).await
    }

    /// What the broker says at `…/access`: the status, and the check that failed or the subject.
    pub(super) async fn judge(
        &self,
        certificate: Option<&Issued>,
        headers: &[(&str, &str)],
    ) -> Result<(u16, String)> {
        let mut found = Vec::new();
        for version in HTTP_VERSIONS {
            let mut answer = self.send(version, certificate, ("GET", ACCESS), headers).await?;
            let body = answer.json().await?;
            let text = body["check"].as_str().or(body["subject"].as_str()).unwrap_or_default();
            found.push((answer.head.status, text.to_owned()));
        }
        ensure!(found[0] == found[1], "both versions of HTTP: {found:?}");
        Ok(found.swap_remove(0))
    }

    /// A stream that is open.
    pub(super) async fn stream(
        &self,
        version: Version,
        certificate: &Issued,
    ) -> Result<RawResponse> {
        let headers = [("Accept", "text/event-stream")];
        let mut stream = self.send(version, Some(certificate), ("GET", EVENTS), &headers).await?;
        ensure!(stream.head.status == 200, "{:?}", stream.head);
        stream.read_until(b"\n:\n").await?;
        Ok(stream)
    }
}
