//! `eventcast-broker key`: makes an API key.

use eventcast_crds::config::{PublishRule, SubscribeRule};
use eventcast_wire::topic::Pattern;
use jiff::Timestamp;

use crate::access::{Minted, Permissions, mint};

/// Options of `eventcast-broker key`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Name of the key in the Secret, in logs and in the source of events: letters, digits, - and .
    #[arg(long)]
    pub id: String,
    /// Topics that the key may publish to, as a pattern such as `orders.*`; repeatable.
    #[arg(long, value_name = "TOPIC")]
    pub publish: Vec<String>,
    /// Types of events that the key may publish, as a pattern; repeatable. All, if none is given.
    #[arg(long, value_name = "TYPE", requires = "publish")]
    pub types: Vec<String>,
    /// The key may also publish events without a topic, which reach all subscribers.
    #[arg(long, requires = "publish")]
    pub broadcast: bool,
    /// Topics that the key may read, as a pattern; repeatable.
    #[arg(long, value_name = "TOPIC")]
    pub subscribe: Vec<String>,
    /// The key may list and disconnect subscribers.
    #[arg(long)]
    pub manage: bool,
    /// Class of the key's quota: one of the channel's access.quotas.
    #[arg(long, value_name = "NAME")]
    pub quota: Option<String>,
    /// When the key ends, such as `2027-01-31T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    pub not_after: Option<Timestamp>,
    /// The Secret that the channel's apiKeys.secretName names, for the command that is printed.
    #[arg(long, value_name = "NAME", default_value = "CHANNEL-keys")]
    pub secret: String,
}

/// Makes a key. Returns what to print: the key, which is stored nowhere, and how to add it to the Secret.
///
/// # Errors
/// An option cannot be used. Says which.
pub fn run(options: &Options) -> Result<String, String> {
    let permissions = permissions(options)?;
    let minted = mint(&options.id).ok_or(
        "--id must have 1 to 63 letters, digits, - and ., and not start with a dot, such as order-service",
    )?;
    let Minted { key, sha256 } = minted;
    let entry = serde_json::to_string(&Permissions { sha256, ..permissions })
        .map_err(|error| error.to_string())?;
    let (id, secret) = (&options.id, &options.secret);
    Ok(format!(
        "The key, which is shown only now. Send it as Authorization: Bearer:\n\n  {key}\n\n\
         The entry of the Secret that lets it in:\n\n  {id}: {entry}\n\n\
         With kubectl, in the namespace of the channel (create the Secret first: kubectl create secret generic {secret}):\n\n  \
         kubectl patch secret {secret} --type merge -p '{patch}'\n",
        patch = serde_json::json!({"stringData": {id: entry}}),
    ))
}

fn permissions(options: &Options) -> Result<Permissions, String> {
    let Options {
        id: _,
        publish,
        types,
        broadcast,
        subscribe,
        manage,
        quota,
        not_after,
        secret: _,
    } = options;
    for (flag, patterns) in [("publish", publish), ("types", types), ("subscribe", subscribe)] {
        if let Some(bad) = patterns.iter().find(|pattern| Pattern::new(pattern).is_err()) {
            return Err(format!("--{flag} {bad:?} is not a pattern such as orders.* or orders.>"));
        }
    }
    if publish.is_empty() && subscribe.is_empty() && !manage {
        return Err("the key may do nothing: add --publish, --subscribe or --manage".into());
    }
    let publish = (!publish.is_empty()).then(|| PublishRule {
        topics: publish.clone(),
        types: types.clone(),
        broadcast: *broadcast,
        source: None,
    });
    let subscribe = (!subscribe.is_empty())
        .then(|| SubscribeRule { topics: subscribe.clone(), broadcast: true });
    Ok(Permissions {
        sha256: String::new(),
        subscribe,
        publish,
        manage: *manage,
        not_after: *not_after,
        quota: quota.clone(),
    })
}
