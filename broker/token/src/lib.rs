//! Signs tokens for development, for `eventcast-broker token` and `eventcast token sign`. In production an identity provider signs tokens.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use serde_json::{Map, Value, json};

/// The name of the key in a new key file.
const KEY_ID: &str = "development";
/// The longest life of a token: a token for development must not become a permanent one.
const MAX_SECONDS: u64 = 30 * 24 * 3600;

/// Options of the commands.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A key file for `keyFile` of a token issuer: a JWK set with a secret (oct). Made if it is missing.
    #[arg(long, value_name = "FILE")]
    pub keys: PathBuf,
    /// Who the token is for.
    #[arg(long)]
    pub subject: String,
    /// `issuer` of the token issuer.
    #[arg(long, default_value = "development")]
    pub issuer: String,
    /// `audience` of the token issuer.
    #[arg(long, default_value = "development")]
    pub audience: String,
    /// Life of the token in seconds.
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub expires_in: u64,
    /// One more claim; repeatable. The value is JSON, or else text.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
}

/// Signs a token. Returns what to print.
///
/// # Errors
/// The key file cannot be used or made. Says what to do.
pub fn run(options: &Options) -> Result<String, String> {
    let claims = claims(options)?;
    let (id, secret) = signing_key(options)?;
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": id});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&header), encode(&Value::Object(claims)));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
    Ok(format!("{message}.{}\n", URL_SAFE_NO_PAD.encode(signature)))
}

fn claims(options: &Options) -> Result<Map<String, Value>, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let expires = now.saturating_add(options.expires_in);
    let mut claims = Map::new();
    for (name, value) in [
        ("iss", json!(options.issuer)),
        ("aud", json!(options.audience)),
        ("sub", json!(options.subject)),
        ("iat", json!(now)),
        ("exp", json!(expires)),
    ] {
        claims.insert(name.into(), value);
    }
    for claim in &options.claims {
        let (name, value) =
            claim.split_once('=').ok_or_else(|| format!("--claim {claim:?} must be NAME=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        claims.insert(name.into(), value);
    }
    Ok(claims)
}

/// The first secret of the key file, and its name.
fn signing_key(options: &Options) -> Result<(Value, Vec<u8>), String> {
    let file = options.keys.display();
    let text = match fs::read_to_string(&options.keys) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => new_key_file(options)?,
        Err(error) => return Err(format!("cannot read {file}: {error}")),
    };
    let unusable = || {
        format!(
            "{file} has no secret (oct) to sign with: name a file that does not exist, and it is made"
        )
    };
    let set: Value = serde_json::from_str(&text).map_err(|_| unusable())?;
    let keys = set["keys"].as_array().ok_or_else(unusable)?;
    let key = keys.iter().find(|key| key["kty"] == "oct").ok_or_else(unusable)?;
    let secret = key["k"].as_str().and_then(|k| URL_SAFE_NO_PAD.decode(k).ok());
    Ok((key["kid"].clone(), secret.ok_or_else(unusable)?))
}

fn new_key_file(options: &Options) -> Result<String, String> {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).map_err(|_| "the system has no random numbers")?;
    let key =
        json!({"kty": "oct", "kid": KEY_ID, "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(secret)});
    let text = format!("{}\n", json!({"keys": [key]}));
    // Anyone who can read the file can sign tokens for any subject.
    let mut file = OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    let created = file.open(&options.keys);
    let written = created.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("cannot make {}: {error}", options.keys.display()))?;
    Ok(text)
}
