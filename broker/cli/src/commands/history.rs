//! `eventcast history`.

use super::reach;
use crate::{answers::Page, channel::Query, failure::Failure, format::Format, output, text};

/// The most events that a broker puts on a page.
const PAGE_EVENTS: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Order {
    Asc,
    Desc,
}

/// Which past events are meant.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Range {
    /// A topic or a pattern (* is one segment, > the rest); repeatable. Events without a topic always pass.
    #[arg(long)]
    topic: Vec<String>,
    /// A type of event or a pattern; repeatable.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Vec<String>,
    /// A source or a pattern (* is any characters); repeatable.
    #[arg(long)]
    source: Vec<String>,
    /// Without events that have no topic.
    #[arg(long)]
    no_broadcast: bool,
    /// From here: earliest, a time (RFC 3339), a duration ago (-10m), last:N, or a cursor (the events after it). Default: earliest.
    #[arg(long, allow_hyphen_values = true)]
    from: Option<String>,
    /// Before this time (RFC 3339), duration ago (-10m) or cursor. Default: the newest event.
    #[arg(long, allow_hyphen_values = true)]
    until: Option<String>,
}

impl Range {
    pub(crate) fn query(&self) -> Query {
        let mut query = Query::default();
        query.add_all("topic", &self.topic);
        query.add_all("type", &self.event_type);
        query.add_all("source", &self.source);
        if self.no_broadcast {
            query.add("broadcast", "false");
        }
        query.add_all("from", &self.from);
        query.add_all("until", &self.until);
        query
    }
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: reach::ReachOptions,
    #[command(flatten)]
    range: Range,
    /// At most this many events.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// All events of the range.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Oldest or newest first.
    #[arg(long, value_enum, default_value_t = Order::Asc)]
    order: Order,
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { reach, range, limit, all, order, output } = options;
    let channel = reach.channel().await?;
    let mut query = range.query();
    if order == Order::Desc {
        query.add("order", "desc");
    }
    let mut left = if all { u64::MAX } else { limit };
    let (mut is_first, mut is_cut) = (true, false);
    while left > 0 {
        query = query.with("limit", left.min(PAGE_EVENTS).to_string());
        let page: Page = channel.get("/events", &query).await?;
        if let Some(gap) = &page.gap {
            output::note(&text::gap(gap));
        }
        if !page.events.is_empty() {
            output::print(&text::history(&page.events, is_first, output))?;
            is_first = false;
        }
        left = left.saturating_sub(page.events.len() as u64);
        let Some(next) = page.next.filter(|_| !page.complete) else { return Ok(()) };
        let bound = if order == Order::Desc { "until" } else { "from" };
        query = query.with(bound, next);
        is_cut = left == 0;
    }
    if is_cut {
        output::note(&format!("# there are more: --limit is {limit}; --all prints all"));
    }
    Ok(())
}
