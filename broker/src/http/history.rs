//! `GET …/events` with `Accept: application/json`: past events.

use http::{Response, StatusCode, request::Parts};

use super::{
    Answer, client, json, link,
    params::{Params, known},
    problem::Problem,
    query_answer, range,
};
use crate::{
    access::Grant,
    broker::Broker,
    channel::Channel,
    query::{History, Order, Range},
    request::RequestContext,
};

/// Events of a page if the client names no `limit`, and the largest `limit`.
const DEFAULT_PAGE_EVENTS: usize = 100;
const MAX_PAGE_EVENTS: usize = 1000;

pub(super) async fn handle(
    broker: &Broker,
    channel: &Channel,
    context: &RequestContext,
    grant: &Grant,
    request: &Parts,
) -> Result<Response<Answer>, Problem> {
    let params = Params::of(&request.uri, &request.headers, &known::HISTORY)?;
    let filter = params.filter(true, grant)?;
    let (from, until) = range::parse(&params)?;
    let limit = params.number("limit", DEFAULT_PAGE_EVENTS, 1, MAX_PAGE_EVENTS)?;
    let order = match params.one("order")? {
        None | Some("asc") => Order::Ascending,
        Some("desc") => Order::Descending,
        Some(_) => return Err(Problem::field("order", "order must be asc or desc.")),
    };
    let budget = range::budget(broker);
    let client = client(broker, context, &request.headers);
    let slot = broker.query_slot(client, budget.bytes).await?;
    let log = channel.log();
    let range = Range::resolve(log, &from, until, &filter, budget).await?;
    let history = History::read(log, range, &filter, order, limit, budget).await?;
    let mut response = json(StatusCode::OK, &history);
    if let Some(next) = &history.next {
        let parameter = if order == Order::Ascending { "from" } else { "until" };
        link::add_next(&mut response, request, parameter, next);
    }
    Ok(query_answer::hold_until_read(response, slot, &context.kill))
}
