//! Credentials for NATS. Their file is read at each connection, so a changed file is used from the next connection on.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use async_nats::Auth;
use eventcast_crds::config::Nats;
use nkeys::KeyPair;

use super::{NatsConfigError, unreadable};

/// How a client of NATS authenticates.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    Password {
        user: String,
        file: Option<PathBuf>,
    },
    Token(PathBuf),
    /// A JWT and the seed of its key.
    UserJwt(PathBuf),
}

impl Credentials {
    /// The credentials of `config`, if it has any.
    pub(super) fn of(config: &Nats) -> Option<Self> {
        let Nats { user, password_file, token_file, credentials_file, .. } = config;
        if let Some(file) = credentials_file {
            Some(Self::UserJwt(file.clone()))
        } else if let Some(file) = token_file {
            Some(Self::Token(file.clone()))
        } else {
            let (user, file) = (user.clone()?, password_file.clone());
            Some(Self::Password { user, file })
        }
    }

    /// Reads the file, and signs `nonce` if the credentials have a key.
    pub(super) fn authenticate(&self, nonce: &[u8]) -> Result<Auth, NatsConfigError> {
        let mut auth = Auth::new();
        match self {
            Self::Password { user, file } => {
                auth.username = Some(user.clone());
                auth.password = Some(file.as_deref().map(read).transpose()?.unwrap_or_default());
            }
            Self::Token(file) => auth.token = Some(read(file)?),
            Self::UserJwt(file) => {
                let text = read(file)?;
                let invalid = || NatsConfigError::Credentials { path: file.display().to_string() };
                let (jwt, seed) = jwt_and_seed(&text).ok_or_else(invalid)?;
                let key = KeyPair::from_seed(seed).map_err(|_| invalid())?;
                auth.jwt = Some(jwt.to_owned());
                auth.signature = Some(key.sign(nonce).map_err(|_| invalid())?);
            }
        }
        Ok(auth)
    }
}

/// The first two lines that stand between lines of dashes: the JWT, and the seed.
fn jwt_and_seed(text: &str) -> Option<(&str, &str)> {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_mark = |line: &str| line.starts_with("---") && line.ends_with("---");
    let mut framed = lines.windows(3).filter_map(|lines| match lines {
        [begin, line, end] if is_mark(begin) && is_mark(end) => Some(*line),
        _ => None,
    });
    let is_value = |line: &&str| !is_mark(line);
    let mut values = framed.by_ref().filter(is_value);
    Some((values.next()?, values.next()?))
}

fn read(path: &Path) -> Result<String, NatsConfigError> {
    let text: io::Result<String> = fs::read_to_string(path);
    text.map(|text| text.trim().to_owned()).map_err(|source| unreadable(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jwt_and_the_seed_are_found() {
        let text = "-----BEGIN NATS USER JWT-----\r\neyJ0.a.b\r\n------END NATS USER JWT------\r\n\r\n\
            ************************* IMPORTANT *************************\r\n\
            NKEY Seed printed below can be used sign and prove identity.\r\n\r\n\
            -----BEGIN USER NKEY SEED-----\r\nSUAIO3\r\n------END USER NKEY SEED------\r\n";
        assert_eq!(jwt_and_seed(text), Some(("eyJ0.a.b", "SUAIO3")));
        assert_eq!(jwt_and_seed(&text.replace("\r\n", "\n")), Some(("eyJ0.a.b", "SUAIO3")));
        for cut in ["", "eyJ0.a.b", &text[..text.len() / 2]] {
            assert_eq!(jwt_and_seed(cut), None, "{cut:?}");
        }
    }
}
