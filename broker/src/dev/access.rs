//! Access to the channels of `eventcast-broker dev`: open to everyone, or closed, with an issuer of tokens in the data directory.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use eventcast_crds::config::{Access, ManageRule, PublishRule, SubscribeRule, TokenIssuer};

use crate::commands::token;

/// The issuer and the audience of development tokens, which are the defaults of `eventcast-broker token`.
const DEVELOPMENT: &str = "development";
/// Life of the printed tokens: a day of work.
const TOKEN_SECONDS: u64 = 12 * 3600;
/// The claim whose value grants more than the rules.
const GRANTS_CLAIM: &str = "grants";
/// Claims that grant everything.
const ADMIN_CLAIMS: [&str; 2] =
    ["role=admin", r#"grants={"subscribe":[">"],"publish":[">"],"broadcast":true}"#];

/// Who may use the channels of `dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Everyone may read and publish.
    Open,
    /// Each request requires a token, which `dev` prints.
    Closed,
}

/// The issuer of development tokens.
pub(super) struct Issuer {
    /// Its key file.
    keys: PathBuf,
    /// A token for the user 42.
    user: String,
    /// A token that grants everything.
    admin: String,
}

impl Issuer {
    /// Signs two tokens with the key in `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// The key file cannot be used or made. Says what to do.
    pub(super) fn new(folder: &Path) -> Result<Self, String> {
        let keys = folder.join("token-keys.json");
        let sign = |subject: &str, claims: &[&str]| {
            let options = token::Options {
                keys: keys.clone(),
                subject: subject.into(),
                issuer: DEVELOPMENT.into(),
                audience: DEVELOPMENT.into(),
                expires_in: TOKEN_SECONDS,
                claims: claims.iter().map(|claim| (*claim).to_owned()).collect(),
            };
            token::run(&options).map(|token| token.trim().to_owned())
        };
        let (user, admin) = (sign("42", &[])?, sign("admin", &ADMIN_CLAIMS)?);
        Ok(Self { keys, user, admin })
    }

    /// The access of a channel that only accepts the tokens of this issuer, and tickets.
    pub(super) fn access(&self) -> Access {
        let rule = |topics: &[&str]| topics.iter().map(|topic| (*topic).to_owned()).collect();
        let admin = [("role".to_owned(), "admin".to_owned())];
        let issuer = TokenIssuer {
            issuer: DEVELOPMENT.into(),
            audience: DEVELOPMENT.into(),
            key_file: Some(self.keys.clone()),
            subscribe: Some(SubscribeRule {
                topics: rule(&["user.{sub}", "public.>"]),
                broadcast: true,
            }),
            publish: Some(PublishRule { topics: rule(&["user.{sub}"]), ..PublishRule::default() }),
            manage: Some(ManageRule { required_claims: admin.into() }),
            grants_claim: Some(GRANTS_CLAIM.into()),
            ..TokenIssuer::default()
        };
        Access { tokens: vec![issuer], ..Access::default() }
    }
}

/// The curl commands that try a channel.
pub(super) struct Commands {
    /// Reads its events.
    pub(super) subscribe: String,
    /// Publishes an event.
    pub(super) publish: String,
}

impl Commands {
    /// For a channel with the events at `events`; as the user 42 if tokens are required.
    pub(super) fn new(issuer: Option<&Issuer>, events: &str) -> Self {
        let Some(Issuer { user, .. }) = issuer else {
            let [subscribe, publish] =
                ["-N", "-d 'hello'"].map(|flags| format!("curl {flags} '{events}'"));
            return Self { subscribe, publish };
        };
        let header = format!("-H 'Authorization: Bearer {user}'");
        Self {
            subscribe: format!("curl -N {header} '{events}'"),
            publish: format!("curl -d 'hello' {header} '{events}?topic=user.42'"),
        }
    }
}

/// Who may do what: text to print, for a broker that listens on `listen`.
pub(super) fn notice(issuer: Option<&Issuer>, listen: SocketAddr) -> String {
    let Some(Issuer { keys, user, admin }) = issuer else {
        let everyone = if listen.ip().is_loopback() {
            "Everyone on this machine".to_owned()
        } else {
            format!("Everyone who can connect to {listen}")
        };
        return format!("{everyone} may read and publish. `--access closed` requires tokens.");
    };
    let program = std::env::current_exe().ok();
    let program = program.map_or("eventcast-broker".into(), |path| path.display().to_string());
    let hours = TOKEN_SECONDS / 3600;
    format!(
        "Every request requires a token. Paste one into the web page, or send it as Authorization: Bearer.\n\n  \
         user 42    {user}\n  \
         admin      {admin}\n  \
         another    '{program}' token --keys '{keys}' --subject 43\n\n\
         For development only: these tokens are valid for {hours} hours, and whoever can read the key file can sign others.",
        keys = keys.display(),
    )
}
