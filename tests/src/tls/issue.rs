//! Authorities, and the certificates that they issue.

use std::{fs, path::Path, sync::LazyLock, time::Duration};

use anyhow::{Context as _, Result, bail};
use eventcast_crds::config::Tls;
use jiff::{Timestamp, ToSpan as _, Zoned};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::{access::replace_file, ports, process};

/// The authority of this process, which issues the certificates of brokers.
static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::new("authority of the tests").expect("constant parameters"));

/// The certificate of the authority of brokers.
///
/// # Panics
/// Never: its parameters are constant.
#[must_use]
pub fn authority() -> CertificateDer<'static> {
    AUTHORITY.certificate.der().clone()
}

/// The same as PEM.
///
/// # Panics
/// Never: its parameters are constant.
#[must_use]
pub fn authority_pem() -> String {
    AUTHORITY.pem()
}

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Its certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Issues a certificate for a client with these names, each `DNS:name` or `URI:name`. It is valid for years.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client(&self, names: &[&str]) -> Result<Issued> {
        self.client_with(names, |_| {})
    }

    /// As [`client`](Self::client), valid between these times, in seconds from now.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client_between(&self, names: &[&str], from: i64, to: i64) -> Result<Issued> {
        let now = Timestamp::now().as_second();
        let at = |seconds: i64| -> Result<_> {
            Ok(date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(now + seconds)?))
        };
        let (from, to) = (at(from)?, at(to)?);
        self.client_with(names, |params| (params.not_before, params.not_after) = (from, to))
    }

    /// As [`client`](Self::client); `change` sees what is to be issued.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<Issued> {
        let mut params = CertificateParams::new(Vec::new())?;
        for name in names {
            params.subject_alt_names.push(match name.split_once(':') {
                Some(("DNS", name)) => SanType::DnsName(name.try_into()?),
                Some(("URI", name)) => SanType::URI(name.try_into()?),
                _ => bail!("{name}: begin with DNS: or URI:"),
            });
        }
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        change(&mut params);
        self.issue(&params, &KeyPair::generate()?)
    }

    fn issue(&self, params: &CertificateParams, key: &KeyPair) -> Result<Issued> {
        let certificate = params.signed_by(key, &self.issuer)?;
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Ok(Issued { der, certificate: pem, key: key.serialize_pem() })
    }
}

/// A certificate and its key. Those of brokers are for `127.0.0.1`, `::1` and `localhost`.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, as the other side sees it.
    pub der: CertificateDer<'static>,
    /// The same as PEM.
    pub certificate: String,
    /// The key as PEM.
    pub key: String,
}

impl Issued {
    /// For a broker, valid for years.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        Self::valid_for(3650)
    }

    /// For a broker, valid until that many days from now; before now if negative.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn valid_for(days: i32) -> Result<Self> {
        Self::with_key(&KeyPair::generate()?, days)
    }

    /// For a broker, with this key, which must be of a kind that ring can sign with.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn with_key_of(pem: &str) -> Result<Self> {
        Self::with_key(&KeyPair::from_pem(pem)?, 3650)
    }

    /// For a server with these names and addresses, valid for years.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn for_names(names: &[&str]) -> Result<Self> {
        Self::issue(names, &KeyPair::generate()?, 3650)
    }

    fn with_key(key: &KeyPair, days: i32) -> Result<Self> {
        Self::issue(&["127.0.0.1", "::1", "localhost"], key, days)
    }

    fn issue(names: &[&str], key: &KeyPair, days: i32) -> Result<Self> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        let end = Zoned::now().checked_add(days.days())?.date();
        let (month, day) = (u8::try_from(end.month())?, u8::try_from(end.day())?);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(end.year().into(), month, day);
        // Clients refuse a certificate authority as a server.
        params.is_ca = IsCa::ExplicitNoCa;
        AUTHORITY.issue(&params, key)
    }
}

/// The files that a broker reads, mounted as Kubernetes mounts a Secret: both change at once.
#[derive(Debug)]
pub struct KeyFiles {
    folder: TempDir,
    versions: u32,
    tls: Tls,
}

impl KeyFiles {
    /// With a valid certificate.
    ///
    /// # Errors
    /// When they cannot be written, or no port is free.
    pub fn new() -> Result<Self> {
        let mut files = Self::empty()?;
        files.put(&Issued::new()?)?;
        Ok(files)
    }

    /// Without files.
    ///
    /// # Errors
    /// When no port is free.
    pub fn empty() -> Result<Self> {
        let folder = process::folder("eventcast-tls-")?;
        let file = |name: &str| folder.path().join("..data").join(name);
        let tls = Tls {
            listen: ([127, 0, 0, 1], ports::reserve(1)?[0]).into(),
            certificate_file: file("tls.crt"),
            key_file: file("tls.key"),
            ..Tls::default()
        };
        Ok(Self { folder, versions: 0, tls })
    }

    /// What the configuration says: TLS alone, with the default protocols.
    #[must_use]
    pub fn config(&self) -> Tls {
        self.tls.clone()
    }

    /// Writes the authorities of clients as PEM; `None`: no such file. From then on [`config`](Self::config) names the file.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_clients(&mut self, authorities: Option<&str>) -> Result<()> {
        let file = self.folder.path().join("clients.crt");
        match authorities {
            Some(pem) => drop(replace_file(self.folder.path(), "clients.crt", pem)?),
            None if file.exists() => fs::remove_file(&file)?,
            None => {}
        }
        self.tls.client_ca_file = Some(file);
        Ok(())
    }

    /// Writes this certificate and its key.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&mut self, issued: &Issued) -> Result<()> {
        self.write(Some(&issued.certificate), Some(&issued.key))
    }

    /// Writes these texts; `None`: no such file.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, certificate: Option<&str>, key: Option<&str>) -> Result<()> {
        self.versions += 1;
        let version = self.folder.path().join(format!("version-{}", self.versions));
        fs::create_dir(&version)?;
        for (name, text) in [("tls.crt", certificate), ("tls.key", key)] {
            if let Some(text) = text {
                fs::write(version.join(name), text)?;
            }
        }
        swap(self.folder.path(), &version)
    }
}

/// Lets the link `..data` in `folder` point to `target`, atomically.
fn swap(folder: &Path, target: &Path) -> Result<()> {
    let new = folder.join("new");
    std::os::unix::fs::symlink(target, &new)?;
    fs::rename(&new, folder.join("..data")).context("failed to swap the files")
}
