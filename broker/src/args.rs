//! The command line. Every flag is an environment variable too.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use eventcast_broker::{
    commands::{key, token},
    dev,
    reload::ConfigSource,
};
use eventcast_crds::config::load::Override;
use eventcast_runtime::{listener::parse_address, program::Failure, telemetry::LogFormat};

/// The Eventcast broker: Server-Sent Events over a shared JetStream log.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Args {
    /// Log filter, such as `info` or `eventcast_broker=debug,warn`.
    #[arg(long, global = true, env = "EVENTCAST_LOG", default_value = "info,async_nats=warn")]
    pub(crate) log: String,
    /// Format of log lines.
    #[arg(long, global = true, env = "EVENTCAST_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve the channels of a configuration file.
    Run(ConfigArgs),
    /// Try Eventcast on this machine: starts a nats-server, creates a channel and serves a web page.
    Dev(dev::Options),
    /// Check a configuration file and exit. Unknown keys are errors.
    Check(CheckArgs),
    /// Make an API key: prints the key, and the entry of the Secret that lets it in.
    Key(key::Options),
    /// For development only: sign a token with the secret of a key file, which is made if it is missing.
    Token(token::Options),
}

#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Also connect to NATS and check that it is recent enough and accepts the largest events of every channel.
    #[arg(long, env = "EVENTCAST_CHECK_NATS")]
    pub(crate) nats: bool,
}

#[derive(clap::Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file (YAML). docs/CONFIGURATION.md lists its keys.
    #[arg(long, env = "EVENTCAST_CONFIG")]
    config: Option<PathBuf>,
    /// Address of the public listener; overrides the file.
    #[arg(long, value_parser = parse_address, env = "EVENTCAST_LISTEN")]
    listen: Option<SocketAddr>,
    /// Address of the admin listener; overrides the file.
    #[arg(long, value_parser = parse_address, env = "EVENTCAST_ADMIN")]
    admin: Option<SocketAddr>,
    /// Port of the control listener on the loopback addresses (0: any); overrides the file.
    #[arg(long, env = "EVENTCAST_CONTROL_PORT", value_name = "PORT")]
    control_port: Option<u16>,
    /// Overrides a value of the file, such as `limits.subscribers=1000`; repeatable. In the environment:
    /// `EVENTCAST__LIMITS__SUBSCRIBERS=1000`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    /// Flags override the environment, which overrides the file.
    pub(crate) fn source(self) -> Result<ConfigSource, Failure> {
        let Self { config, listen, admin, control_port, set } = self;
        let mut overrides: Vec<_> = std::env::vars()
            .filter_map(|(name, value)| Override::from_env(&name, &value))
            .collect();
        overrides.sort_by(|a, b| a.path.cmp(&b.path));
        for text in set {
            overrides.push(Override::from_flag(&text).map_err(Failure::usage)?);
        }
        for (path, address) in [("listen", listen), ("admin", admin)] {
            let of = |a: SocketAddr| Override { path: path.into(), value: format!("\"{a}\"") };
            overrides.extend(address.map(of));
        }
        overrides.extend(
            control_port
                .map(|port| Override { path: "controlPort".into(), value: port.to_string() }),
        );
        Ok(ConfigSource { file: config, overrides })
    }
}
