//! An authority, and the certificates that it issues.

use std::{fs, path::Path, sync::LazyLock};

use anyhow::{Context as _, Result};
use eventcast_crds::config::Tls;
use jiff::{ToSpan as _, Zoned};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::{ports, process};

/// The authority of this process: its own certificate, and what it issues with.
static AUTHORITY: LazyLock<(CertificateDer<'static>, Issuer<'static, KeyPair>)> =
    LazyLock::new(|| {
        let make = || -> Result<_> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(Vec::new())?;
            params.distinguished_name.push(DnType::CommonName, "authority of the tests");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let certificate = params.self_signed(&key)?.der().clone();
            Ok((certificate, Issuer::new(params, key)))
        };
        make().expect("constant parameters are valid")
    });

/// The certificate of the authority.
///
/// # Panics
/// Never: its parameters are constant.
#[must_use]
pub fn authority() -> CertificateDer<'static> {
    AUTHORITY.0.clone()
}

/// A certificate for `127.0.0.1` and `localhost`, and its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, as clients see it.
    pub der: CertificateDer<'static>,
    /// The same as PEM.
    pub certificate: String,
    /// The key as PEM.
    pub key: String,
}

impl Issued {
    /// Valid for years.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        Self::valid_for(3650)
    }

    /// Valid until that many days from now; before now if negative.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn valid_for(days: i32) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let end = Zoned::now().checked_add(days.days())?.date();
        let (month, day) = (u8::try_from(end.month())?, u8::try_from(end.day())?);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(end.year().into(), month, day);
        // Clients refuse a certificate authority as a server.
        params.is_ca = IsCa::ExplicitNoCa;
        let certificate = params.signed_by(&key, &AUTHORITY.1)?;
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Ok(Self { der, certificate: pem, key: key.serialize_pem() })
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
