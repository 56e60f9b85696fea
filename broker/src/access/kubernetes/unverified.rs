//! The claims of a token that nobody has verified. They decide only whether the API server is asked about it. Pure.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::access::credential::Invalid;

/// Longer tokens are refused. That of a service account has about 1 KiB.
const MAX_TOKEN_BYTES: usize = 8 << 10;
/// How far the clocks of API server and broker may differ, in seconds. The API server decides in the end.
const LEEWAY_SECONDS: i64 = 30;

/// Claims of a token.
#[derive(Deserialize)]
struct Claims {
    aud: Audiences,
    exp: i64,
    #[serde(default)]
    iat: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

/// A token that looks like that of a service account.
pub(super) struct Unverified {
    audiences: Vec<String>,
    /// When it expires, in seconds since 1970.
    pub(super) expires: i64,
    /// When it was issued, in seconds since 1970.
    pub(super) issued_at: Option<i64>,
}

impl Unverified {
    /// Reads the claims.
    ///
    /// # Errors
    /// It is not a token of a service account.
    pub(super) fn parse(token: &str) -> Result<Self, Invalid> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Invalid::new("form", "The token is longer than 8 KiB."));
        }
        let malformed = || {
            let detail = "The token is not a JSON Web Token with the claims aud and exp, as Kubernetes issues them for service accounts.";
            Invalid::new("form", detail)
        };
        let [_, payload, _] = token.split('.').collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| malformed())?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| malformed())?;
        let audiences = match claims.aud {
            Audiences::One(audience) => vec![audience],
            Audiences::Many(audiences) => audiences,
        };
        Ok(Self { audiences, expires: claims.exp, issued_at: claims.iat })
    }

    /// Whether the API server may accept it at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// It will not.
    pub(super) fn check(&self, audience: &str, now: i64) -> Result<(), Invalid> {
        if !self.audiences.iter().any(|own| own == audience) {
            let detail = "The token is for another audience. Request one for the audience in access.kubernetes of the channel: a projected \
                          volume with serviceAccountToken.audience, or kubectl create token --audience.";
            return Err(Invalid::new("audience", detail));
        }
        if self.expires.saturating_add(LEEWAY_SECONDS) <= now {
            let detail =
                "The token has expired. Read the file of the projected volume for each request.";
            return Err(Invalid::new("expired", detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_token_names_its_audiences_and_its_end() {
        for aud in [r#""ours""#, r#"["theirs","ours"]"#] {
            let read = Unverified::parse(&token(&format!(r#"{{"aud":{aud},"exp":100,"iat":50}}"#)));
            let read = read.unwrap();
            assert_eq!((read.expires, read.issued_at), (100, Some(50)));
            assert!(read.check("ours", 99).is_ok() && read.check("ours", 129).is_ok());
            assert_eq!(read.check("ours", 130).unwrap_err().check, "expired");
            assert_eq!(read.check("our", 99).unwrap_err().check, "audience");
        }
    }

    #[test]
    fn garbage_is_refused() {
        let long = token(&format!(r#"{{"aud":"ours","exp":1,"x":"{}"}}"#, "x".repeat(7000)));
        assert!(long.len() > MAX_TOKEN_BYTES);
        let mut bad = vec![String::new(), "a.b".into(), "a.b.c".into(), "....".into(), long];
        for payload in [
            "",
            "[]",
            r#"{"aud":"ours"}"#,
            r#"{"exp":1}"#,
            r#"{"aud":7,"exp":1}"#,
            r#"{"aud":null,"exp":1}"#,
            r#"{"aud":"ours","exp":"1"}"#,
            r#"{"aud":"ours","exp":1e400}"#,
            r#"{"aud":"ours","exp":18446744073709551616}"#,
        ] {
            bad.push(token(payload));
        }
        bad.push(format!("{}.d", token(r#"{"aud":"ours","exp":1}"#)));
        for token in bad {
            let Err(refusal) = Unverified::parse(&token) else { panic!("{token} was read") };
            assert_eq!(refusal.check, "form");
        }
    }
}
