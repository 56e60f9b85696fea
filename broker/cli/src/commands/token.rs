//! `eventcast token`.

use jiff::Timestamp;

use super::reach;
use crate::{
    answers::Access,
    channel::{Query, RequestError},
    failure::Failure,
    jwt::Jwt,
    output, text,
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Say why a channel refuses a token, or what it grants.
    Check(Check),
    /// For development only: sign a token with the secret of a key file, which is made if it is missing.
    Sign(eventcast_token::Options),
}

#[derive(Clone, Debug, clap::Args)]
struct Check {
    #[command(flatten)]
    reach: reach::ReachOptions,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    match options.command {
        Command::Check(options) => check(options.reach).await,
        Command::Sign(options) => {
            output::print(&eventcast_token::run(&options).map_err(Failure::Usage)?)
        }
    }
}

/// Shows the token, and asks a broker of the channel to judge it.
async fn check(reach: reach::ReachOptions) -> Result<(), Failure> {
    let Some(token) = reach.credential().token()? else {
        return Err(Failure::usage(
            "there is no token: pass --token-file FILE or set EVENTCAST_TOKEN",
        ));
    };
    let shown = match Jwt::parse(&token) {
        Ok(jwt) => text::token(&jwt, Timestamp::now().as_second()),
        // API keys and tickets are judged all the same.
        Err(why) => format!("not a JWT: {why}\n"),
    };
    output::print(&shown)?;
    let channel = reach.channel().await?;
    let granted: Result<Access, RequestError> = channel.get("/access", &Query::default()).await;
    match granted {
        Ok(granted) => {
            output::print(&format!("\naccepted by the channel\n{}", text::grant(&granted)))
        }
        Err(error) => Err(Failure::failed(format!("refused by the channel\n{error}"))),
    }
}
