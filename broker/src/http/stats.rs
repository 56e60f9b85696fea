//! `GET …/stats`: counts.

use http::{Response, StatusCode, request::Parts};

use super::{
    Answer, client,
    history::{budget, link, range, unavailable},
    json,
    params::{Params, known, seconds},
    problem::Problem,
    retained,
};
use crate::{
    broker::Broker,
    channel::Channel,
    query::{Range, Stats, StatsRequest},
    sockets::Remote,
};

/// Bytes of an answer, at most: a thousand names of each kind, and as many buckets.
const LARGEST: usize = 2 << 20;

pub(super) async fn handle(
    broker: &Broker,
    channel: &Channel,
    remote: &Remote,
    request: &Parts,
) -> Result<Response<Answer>, Problem> {
    let params = Params::of(&request.uri, &request.headers, &known::STATS)?;
    let filter = params.filter(true)?;
    let (from, until) = range(&params)?;
    let bucket_seconds = match params.one("bucket")? {
        None => 60,
        Some(text) => seconds(text).filter(|s| (1..=31 * 86_400).contains(s)).ok_or_else(|| {
            Problem::field(
                "bucket",
                "bucket is a length of time from 1s to 31d, as 10s, 5m, 1h, 1d.",
            )
        })?,
    };
    let stats = StatsRequest { filter, bucket_seconds, budget: budget(broker) };
    let client = client(broker, remote, &request.headers);
    let turn = broker.query_turn(client, LARGEST).await?;
    let log = channel.log();
    let range = Range::resolve(log, &from, until, &stats.filter, stats.budget).await;
    let range = range.map_err(|_| unavailable())?;
    let found = Stats::read(log, range, &stats).await.map_err(|_| unavailable())?;
    let mut response = json(StatusCode::OK, &found);
    if let Some(next) = &found.next {
        link(&mut response, request, "from", next);
    }
    Ok(retained::until_read(response, turn))
}
