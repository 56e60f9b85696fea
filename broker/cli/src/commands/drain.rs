//! `eventcast drain`.

use http::Method;

use super::control::ControlOptions;
use crate::{answers::Drain, failure::Failure, format::RowFormat, output, text};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The channel.
    #[arg(value_name = "NAMESPACE/NAME", required_unless_present = "control_url")]
    channel: Option<String>,
    /// The pod of the broker, as `eventcast status` shows it.
    #[arg(value_name = "BROKER", required_unless_present = "control_url")]
    broker: Option<String>,
    #[arg(long, short, value_enum, default_value_t = RowFormat::Table)]
    output: RowFormat,
    #[command(flatten)]
    control: ControlOptions,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { channel, broker, output, control } = options;
    let brokers = control.brokers(channel.as_deref()).await?;
    let is_it = |name: &str| control.names_broker() || Some(name) == broker.as_deref();
    let Some(port) = brokers.ports.iter().find(|port| is_it(&port.name)) else {
        let names: Vec<_> = brokers.ports.iter().map(|port| port.name.as_str()).collect();
        let broker = broker.unwrap_or_default();
        let names = names.join(", ");
        return Err(Failure::failed(format!("{broker} is no broker of the channel: {names}")));
    };
    let asked = port.ask::<Drain>(Method::POST, "/drain", None).await;
    let drain = asked.map_err(|error| Failure::failed(format!("{}: {error}", port.name)))?;
    let drain = Drain { broker: port.name.clone(), ..drain };
    let table = |rows: &[Drain], _| rows.iter().map(text::drain).collect();
    output::print(&output.rows(&[drain], table))
}
