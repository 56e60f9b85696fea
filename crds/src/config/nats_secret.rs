//! The Secret that holds what a program needs to reach NATS: its keys, and the files that they are mounted as. Pure.

use std::path::{Path, PathBuf};

use super::Nats;

impl Nats {
    /// The keys of the Secret and the configured files that they stand for.
    #[must_use]
    pub fn secret_files(&self) -> Vec<(&'static str, PathBuf)> {
        let files = [
            ("password", &self.password_file),
            ("token", &self.token_file),
            ("nats.creds", &self.credentials_file),
            ("ca.crt", &self.ca_file),
            ("tls.crt", &self.certificate_file),
            ("tls.key", &self.key_file),
        ];
        files.into_iter().filter_map(|(key, path)| Some((key, path.clone()?))).collect()
    }

    /// The same configuration for a program that has the Secret mounted at `folder`.
    #[must_use]
    pub fn mounted_at(&self, folder: &Path) -> Self {
        let at = |file: &Option<PathBuf>, key: &str| file.as_ref().map(|_| folder.join(key));
        Self {
            password_file: at(&self.password_file, "password"),
            token_file: at(&self.token_file, "token"),
            credentials_file: at(&self.credentials_file, "nats.creds"),
            ca_file: at(&self.ca_file, "ca.crt"),
            certificate_file: at(&self.certificate_file, "tls.crt"),
            key_file: at(&self.key_file, "tls.key"),
            ..self.clone()
        }
    }
}
