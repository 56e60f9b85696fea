//! `GET …/stats`: counts of past events.

use http::{Response, StatusCode};

use super::{
    Answer,
    channel_request::ChannelRequest,
    json, link,
    params::{known, seconds},
    problem::Problem,
    query_answer, range,
};
use crate::query::{Range, Stats, StatsRequest};

/// Bytes that an answer may have: 1000 names of each kind, and as many buckets.
const MAX_STATS_BYTES: usize = 2 << 20;

pub(super) async fn handle(request: &ChannelRequest<'_>) -> Result<Response<Answer>, Problem> {
    let params = request.params(&known::STATS)?;
    let filter = request.filter(&params, true)?;
    let (from, until) = range::parse(&params)?;
    let bucket_seconds = match params.one("bucket")? {
        None => 60,
        Some(text) => seconds(text).filter(|s| (1..=31 * 86_400).contains(s)).ok_or_else(|| {
            Problem::field(
                "bucket",
                "bucket must be a duration from 1s to 31d, such as 10s, 5m, 1h or 1d.",
            )
        })?,
    };
    let stats = StatsRequest { filter, bucket_seconds, budget: range::budget(request.broker) };
    let _timed = request.channel.metrics().stats_seconds.start_timer();
    let slot =
        request.broker.query_slot(request.client(), request.channel, MAX_STATS_BYTES).await?;
    let log = &request.attached_log().await;
    let range = Range::resolve(log, &from, until, &stats.filter, stats.budget).await?;
    let found = Stats::read(log, range, &stats).await?;
    let mut response = json(StatusCode::OK, &found);
    if let Some(next) = &found.next {
        link::add_next(&mut response, &request.head, "from", next);
    }
    Ok(query_answer::hold_until_read(response, slot, &request.context.kill))
}
