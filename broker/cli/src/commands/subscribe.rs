//! `eventcast sub`.

use std::time::Duration;

use jiff::Timestamp;

use super::reach;
use crate::{
    answers::{Gap, Page},
    channel::{Channel, Query},
    cursor_order::has_reached,
    failure::Failure,
    format::Format,
    output,
    printable::counted,
    stream::{Follower, StreamUpdate},
    text,
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: reach::ReachOptions,
    /// A topic or a pattern (* is one segment, > the rest); repeatable. Events without a topic always pass.
    #[arg(long)]
    topic: Vec<String>,
    /// A type of event or a pattern; repeatable.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Vec<String>,
    /// Where to begin: latest, earliest, last:N, a cursor, a time (RFC 3339) or a duration ago (-10m). Default: what the channel says, usually
    /// latest; with --until-end earliest.
    #[arg(long, allow_hyphen_values = true)]
    from: Option<String>,
    /// Exit after this many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Exit at the newest event that there is when the command begins.
    #[arg(long)]
    until_end: bool,
    /// Reconnect after this many seconds without a byte. Brokers send heartbeats every 15 seconds, unless the channel says otherwise; the limit
    /// doubles each time it is reached.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    max_silence: u64,
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// What has been received.
#[derive(Debug, Default)]
struct Received {
    events: u64,
    gaps: u64,
    lost: u64,
    /// Whether a gap did not say how many events are lost.
    is_unknown: bool,
}

impl Received {
    fn count_gap(&mut self, gap: &Gap) {
        self.gaps += 1;
        self.lost += gap.lost.unwrap_or_default();
        self.is_unknown |= gap.lost.is_none();
    }

    /// # Errors
    /// Events are missing, so the output is not what was asked for.
    fn complete(&self) -> Result<(), Failure> {
        let Self { events, gaps, lost, is_unknown } = self;
        if *gaps == 0 {
            return Ok(());
        }
        let at_least = if *is_unknown { "at least " } else { "" };
        Err(Failure::failed(format!(
            "{} received, {}, {at_least}{} lost",
            counted(*events, "event"),
            counted(*gaps, "gap"),
            counted(*lost, "event")
        )))
    }
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { reach, topic, event_type, from, count, until_end, max_silence, output } = options;
    let channel = reach.channel().await?;
    let mut query = Query::default();
    query.add_all("topic", &topic);
    query.add_all("type", &event_type);
    let end = match until_end {
        true => match newest(&channel, &query).await? {
            Some(cursor) => Some(cursor),
            None => return Ok(()), // nothing passes the filter
        },
        false => None,
    };
    let from = from.or_else(|| until_end.then(|| "earliest".to_owned()));
    query.add_all("from", &from);
    let mut follower = Follower::new(channel, query, Duration::from_secs(max_silence));
    let mut received = Received::default();
    let follow = async {
        loop {
            let position = match follower.next().await? {
                StreamUpdate::Event(event) => {
                    received.events += 1;
                    output::print(&text::live_event(&event, &now(), output))?;
                    event.id
                }
                StreamUpdate::Gap(gap) => {
                    received.count_gap(&gap);
                    output::note(&text::gap(&gap));
                    Some(gap.resumed_at)
                }
                StreamUpdate::Notice(notice) => {
                    output::note(&format!("# {notice}"));
                    None
                }
                StreamUpdate::Position(position) => position,
                StreamUpdate::Stop => {
                    output::note("# the broker asks clients to stay away (204)");
                    return Ok(());
                }
            };
            let is_counted = count.is_some_and(|count| received.events >= count);
            let is_at_end =
                end.as_ref().zip(position).is_some_and(|(end, at)| has_reached(&at, end));
            if is_counted || is_at_end {
                return Ok::<_, Failure>(());
            }
        }
    };
    tokio::select! {
        ended = follow => ended?,
        _ = tokio::signal::ctrl_c() => {}
    }
    received.complete()
}

/// The newest event that passes the filter.
async fn newest(channel: &Channel, query: &Query) -> Result<Option<String>, Failure> {
    let mut query = query.with("order", "desc").with("limit", "1");
    loop {
        let page: Page = channel.get("/events", &query).await?;
        if let Some(event) = page.events.into_iter().next() {
            return Ok(Some(event.cursor));
        }
        match page.next {
            Some(next) if !page.complete => query = query.with("until", next),
            _ => return Ok(None),
        }
    }
}

fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_makes_the_result_incomplete() {
        let mut received = Received { events: 3, ..Received::default() };
        assert_eq!(received.complete(), Ok(()));
        let gap = |lost| Gap {
            requested: "a".into(),
            resumed_at: "b".into(),
            lost,
            reason: "expired".into(),
        };
        received.count_gap(&gap(Some(7)));
        received.count_gap(&gap(None));
        let expected = "3 events received, 2 gaps, at least 7 events lost";
        assert_eq!(received.complete(), Err(Failure::failed(expected)));
    }
}
