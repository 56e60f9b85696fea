//! `eventcast log-level`.

use http::Method;
use serde_json::json;

use super::control::{ControlOptions, split_answers};
use crate::{answers::LogLevel, control, failure::Failure, format::RowFormat, output, text};

/// What stands for the operator instead of a channel.
const OPERATOR: &str = "operator";

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The channel whose brokers are meant, or `operator`: all operators of the cluster, or those in the namespace of -n. Left out with
    /// --control-url.
    #[arg(value_name = "NAMESPACE/NAME|operator", required_unless_present = "control_url")]
    of: Option<String>,
    /// The filter to use from now on, such as `debug` or `info,eventcast_broker::log=trace`. Without it, filters are shown.
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// How long the filter applies: 90s, 10m, 2h; at most a day. Without it, until the program ends.
    #[arg(long = "for", value_name = "TIME")]
    duration: Option<String>,
    /// Use what is configured again.
    #[arg(long, conflicts_with_all = ["filter", "duration"])]
    reset: bool,
    #[arg(long, short, value_enum, default_value_t = RowFormat::Table)]
    output: RowFormat,
    #[command(flatten)]
    control: ControlOptions,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { of, filter, duration, reset, output, control } = options;
    let (of, filter) = match (control.names_broker(), of, filter) {
        (true, Some(_), Some(_)) => {
            return Err(Failure::usage("leave out the channel: --control-url names the broker"));
        }
        (true, first, None) => (None, first),
        (_, of, filter) => (of, filter),
    };
    if filter.is_none() && duration.is_some() {
        return Err(Failure::usage("--for needs a filter"));
    }
    let ports = match of.as_deref() {
        Some(OPERATOR) => control.operators().await?,
        of => control.brokers(of).await?.ports,
    };
    let body = (reset || filter.is_some()).then(|| json!({"filter": filter, "for": duration}));
    let method = if body.is_some() { Method::PUT } else { Method::GET };
    let levels = control::ask_all::<LogLevel>(&ports, &method, "/log-level", body.as_ref()).await;
    let levels = split_answers(levels)?;
    let rows: Vec<_> = levels
        .answers
        .iter()
        .map(|(pod, level)| LogLevel { pod: pod.clone(), ..level.clone() })
        .collect();
    output::print(&output.rows(&rows, |rows, _| text::log_levels(rows)))?;
    levels.complete()
}
