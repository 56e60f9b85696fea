//! `eventcast report`.

mod collect;

use std::path::PathBuf;

use jiff::Timestamp;

use super::reach::ClusterOptions;
use crate::{failure::Failure, output, printable::counted, report::Report};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The channel. Without it: the operators and the channels of the namespace.
    #[arg(value_name = "NAMESPACE/NAME")]
    channel: Option<String>,
    /// The file that is written. Default: eventcast-report-<channel>-<time>.zip in the working directory.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// URL of the admin port of one broker, such as http://127.0.0.1:9090; then no cluster is asked.
    #[arg(long, env = "EVENTCAST_ADMIN_URL", value_name = "URL", conflicts_with = "channel")]
    admin_url: Option<String>,
    #[command(flatten)]
    cluster: ClusterOptions,
}

const ABOUT: &str = "\
This report is for people who look for the cause of a problem. `eventcast report` has put into it:

- objects of Kubernetes (channel, pool, Deployment, pods, Services, ConfigMaps, policies, ...) and Events about the channel;
- of each broker: its state, metrics, log filter, and the last lines of its log; of operators the same, as far as it may be read.

There are no Secrets and no data of events in it. Values of environment variables, tokens, API keys, tickets and
passwords in URLs were removed. Logs and objects may contain names of users, topics, and addresses of clients:
look through the files before you give them to somebody else.
";

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { channel, file, admin_url, cluster } = options;
    let mut report = Report::default();
    report.add_text("README.txt", ABOUT);
    let now = Timestamp::now();
    let command =
        serde_json::json!({"version": env!("CARGO_PKG_VERSION"), "time": now.to_string()});
    report.add_value("report.yaml", command);
    let subject = match (&admin_url, channel) {
        (Some(url), _) => {
            collect::broker_at(url, &mut report).await?;
            "broker".to_owned()
        }
        (None, Some(channel)) => {
            let api = cluster.connect().await?;
            let name = cluster.name(&channel, &api)?;
            collect::channel(&api, &name, &mut report).await?;
            format!("{}-{}", name.namespace, name.name)
        }
        (None, None) => {
            let api = cluster.connect().await?;
            let namespace = cluster.namespace(&api).to_owned();
            collect::namespace(&api, &namespace, &mut report).await;
            namespace
        }
    };
    if !report.missing.is_empty() {
        let missing = report.missing.join("\n") + "\n";
        report.add_text("missing.txt", &missing);
    }
    let folder = format!("eventcast-report-{subject}-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let file = file.unwrap_or_else(|| PathBuf::from(format!("{folder}.zip")));
    let written = report.write(&folder, &file);
    written
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))?;
    for (name, bytes) in report.contents() {
        output::note(&format!("# {name}, {}", counted(bytes as u64, "byte")));
    }
    for line in &report.missing {
        output::note(&format!("# not in it: {line}"));
    }
    output::note(
        "# no Secrets, credentials or data of events; it may name users and addresses: look through it before you pass it on",
    );
    output::print(&format!("{}\n", file.display()))
}
