//! The Secret with the credentials for NATS: its keys, and the files as which they are mounted. Pure.

use std::path::{Path, PathBuf};

use super::Nats;

impl Nats {
    /// The key of the Secret for each configured file, and the path of the file.
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

    /// This configuration for a program with the Secret mounted at `folder`.
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
