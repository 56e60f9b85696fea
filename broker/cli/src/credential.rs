//! The credential of requests: a token, an API key or the token of a service account.

use std::{fs::File, io::Read as _, path::PathBuf};

use http::HeaderValue;

use crate::failure::Failure;

/// The variable that may hold the credential. It is no option: the options of a process can be read by everyone on its machine.
pub(crate) const VARIABLE: &str = "EVENTCAST_TOKEN";
/// More is no credential: a broker accepts heads of 16 KiB.
const MAX_BYTES: u64 = 16 << 10;

/// Where the credential comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credential {
    file: Option<PathBuf>,
    value: Option<String>,
}

impl Credential {
    /// A file has precedence over the environment.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        let value = if file.is_some() { None } else { std::env::var(VARIABLE).ok() };
        Self { file, value: value.filter(|value| !value.trim().is_empty()) }
    }

    /// Whether there is one.
    pub(crate) fn is_given(&self) -> bool {
        self.file.is_some() || self.value.is_some()
    }

    /// The value of `Authorization`. A file is read for each request, because the kubelet and login helpers renew it.
    ///
    /// # Errors
    /// The file cannot be read, or has no credential.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some(token) = self.token()? else { return Ok(None) };
        let origin = match &self.file {
            Some(file) => file.display().to_string(),
            None => VARIABLE.to_owned(),
        };
        bearer(&token).map(Some).ok_or_else(|| {
            Failure::failed(format!(
                "{origin} holds no credential: it must be one token or API key, without spaces and without the word Bearer"
            ))
        })
    }

    /// The text of the credential.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn token(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.file else {
            return Ok(self.value.as_deref().map(|value| value.trim().to_owned()));
        };
        let mut text = String::new();
        let read = File::open(file).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        read.map_err(|error| {
            Failure::failed(format!("cannot read --token-file {}: {error}", file.display()))
        })?;
        Ok(Some(text.trim().to_owned()))
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_one_word() {
        assert_eq!(bearer("abc.def").unwrap(), "Bearer abc.def");
        for wrong in ["", "Bearer abc", "abc\ndef", "ä"] {
            assert_eq!(bearer(wrong), None, "{wrong:?}");
        }
    }
}
