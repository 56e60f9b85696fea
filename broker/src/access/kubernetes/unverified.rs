//! The unverified claims of a token. They decide only whether the API server is asked about it. Pure.

use crate::access::{
    credential::Invalid,
    jwt::{self, claims},
    template::Claims,
};

/// How far the clocks of API server and broker may differ, in seconds. The API server decides in the end.
const LEEWAY_SECONDS: i64 = 30;

/// A token that looks like that of a service account.
pub(super) struct Unverified {
    claims: Claims,
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
        let (_header, claims) = jwt::read(token)?;
        let expires = claims::seconds(&claims, "exp").ok_or_else(|| {
            let detail = "The token has no end (the claim exp), as Kubernetes gives those of service accounts.";
            Invalid::new("form", detail)
        })?;
        Ok(Self { expires, issued_at: claims::seconds(&claims, "iat"), claims })
    }

    /// Whether the API server may accept it at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// It will not.
    pub(super) fn check(&self, audience: &str, now: i64) -> Result<(), Invalid> {
        if !claims::names_audience(&self.claims, audience) {
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
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

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
        let long = token(&format!(r#"{{"aud":"ours","exp":1,"x":"{}"}}"#, "x".repeat(8000)));
        assert_eq!(Unverified::parse(&long).err().map(|refusal| refusal.check), Some("too-large"));
        let mut bad = vec![String::new(), "a.b".into(), "a.b.c".into(), "....".into()];
        for payload in [
            "",
            "[]",
            r#"{"aud":"ours"}"#,
            r#"{"aud":"ours","exp":"1"}"#,
            r#"{"aud":"ours","exp":1e400}"#,
        ] {
            bad.push(token(payload));
        }
        bad.push(format!("{}.d", token(r#"{"aud":"ours","exp":1}"#)));
        for token in bad {
            let Err(refusal) = Unverified::parse(&token) else { panic!("{token} was read") };
            assert_eq!(refusal.check, "form");
        }
        for payload in [r#"{"exp":1}"#, r#"{"aud":7,"exp":1}"#, r#"{"aud":null,"exp":1}"#] {
            let read = Unverified::parse(&token(payload)).unwrap();
            assert_eq!(read.check("ours", 0).unwrap_err().check, "audience", "{payload}");
        }
    }
}
