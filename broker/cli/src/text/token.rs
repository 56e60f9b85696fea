//! A token as its issuer has made it. Pure.

use serde_json::Value;

use super::{table, units};
use crate::{jwt::Jwt, printable::printable};

/// Claims that have a line of their own.
const KNOWN: [&str; 7] = ["iss", "aud", "sub", "iat", "nbf", "exp", "jti"];

/// What a token says of itself at `now`, in seconds since 1970.
pub(crate) fn token(jwt: &Jwt, now: i64) -> String {
    let text = |value: Option<&Value>| match value {
        None => "none".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(other) => printable(&other.to_string()),
    };
    let mut rows = vec![
        ["algorithm", &text(jwt.header.get("alg"))].map(str::to_owned),
        ["key", &text(jwt.header.get("kid"))].map(str::to_owned),
        ["issuer", &text(jwt.claims.get("iss"))].map(str::to_owned),
        ["audience", &text(jwt.claims.get("aud"))].map(str::to_owned),
        ["subject", &text(jwt.claims.get("sub"))].map(str::to_owned),
    ];
    for (name, claim) in [("issued", "iat"), ("valid from", "nbf"), ("expires", "exp")] {
        let Some(seconds) = jwt.seconds_until(claim, now) else { continue };
        let age = units::age(seconds.unsigned_abs() as f64);
        let when = if seconds <= 0 { format!("{age} ago") } else { format!("in {age}") };
        let mark = match claim {
            "exp" if seconds <= 0 => "  EXPIRED",
            "nbf" | "iat" if seconds > 60 => "  IN THE FUTURE: compare the clocks",
            _ => "",
        };
        rows.push([name.to_owned(), format!("{when}{mark}")]);
    }
    for (name, value) in &jwt.claims {
        if !KNOWN.contains(&name.as_str()) {
            rows.push([printable(name), text(Some(value))]);
        }
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::text::golden;

    #[test]
    fn tokens_match_the_golden_file() {
        let jwt = |header: Value, claims: Value| Jwt {
            header: header.as_object().cloned().unwrap(),
            claims: claims.as_object().cloned().unwrap(),
        };
        let good = json!({"iss": "https://login.example.com/", "aud": ["notifications"], "sub": "auth0|a.b",
            "iat": 940, "exp": 1600, "groups": ["a", "b\u{1b}"]});
        let expired = json!({"iss": "x", "nbf": 4000, "exp": 1000});
        let text = token(&jwt(json!({"alg": "ES256", "kid": "1"}), good), 1000)
            + "---\n"
            + &token(&jwt(json!({"alg": "none"}), expired), 1000);
        golden("token", &text);
    }
}
