//! `GET …/events` with `Accept: application/json`: past events.

use http::{Response, StatusCode};

use super::{
    Answer, channel_request::ChannelRequest, json, link, params::known, problem::Problem,
    query_answer, range,
};
use crate::query::{History, Order, Range};

/// Events of a page if the client names no `limit`, and the largest `limit`.
const DEFAULT_PAGE_EVENTS: usize = 100;
const MAX_PAGE_EVENTS: usize = 1000;

pub(super) async fn handle(request: &ChannelRequest<'_>) -> Result<Response<Answer>, Problem> {
    let params = request.params(&known::HISTORY)?;
    let filter = request.filter(&params, true)?;
    let (from, until) = range::parse(&params)?;
    let limit = params.number("limit", DEFAULT_PAGE_EVENTS, 1, MAX_PAGE_EVENTS)?;
    let order = match params.one("order")? {
        None | Some("asc") => Order::Ascending,
        Some("desc") => Order::Descending,
        Some(_) => return Err(Problem::field("order", "order must be asc or desc.")),
    };
    let budget = range::budget(request.broker);
    let _timed = request.channel.metrics().history_seconds.start_timer();
    let slot = request.broker.query_slot(request.client(), request.channel, budget.bytes).await?;
    let log = &request.attached_log().await;
    let range = Range::resolve(log, &from, until, &filter, budget).await?;
    let history = History::read(log, range, &filter, order, limit, budget).await?;
    let mut response = json(StatusCode::OK, &history);
    if let Some(next) = &history.next {
        let parameter = if order == Order::Ascending { "from" } else { "until" };
        link::add_next(&mut response, &request.head, parameter, next);
    }
    Ok(query_answer::hold_until_read(response, slot, &request.context.kill))
}
