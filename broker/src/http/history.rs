//! `GET …/events` as JSON: past events.

use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{
    Answer, client, json,
    params::{Params, known, start, time},
    problem::Problem,
    retained,
};
use crate::{
    broker::Broker,
    channel::Channel,
    log::Start,
    query::{Budget, History, Order, Range, Until},
    sockets::Remote,
};

pub(super) async fn handle(
    broker: &Broker,
    channel: &Channel,
    remote: &Remote,
    request: &Parts,
) -> Result<Response<Answer>, Problem> {
    let params = Params::of(&request.uri, &request.headers, &known::HISTORY)?;
    let filter = params.filter(true)?;
    let (from, until) = range(&params)?;
    let limit = params.number("limit", 100, 1, 1000)?;
    let order = match params.one("order")? {
        None | Some("asc") => Order::Ascending,
        Some("desc") => Order::Descending,
        Some(_) => return Err(Problem::field("order", "order is asc or desc.")),
    };
    let budget = budget(broker);
    let client = client(broker, remote, &request.headers);
    let turn = broker.query_turn(client, budget.bytes).await?;
    let log = channel.log();
    let range =
        Range::resolve(log, &from, until, &filter, budget).await.map_err(|_| unavailable())?;
    let history = History::read(log, range, &filter, order, limit, budget)
        .await
        .map_err(|_| unavailable())?;
    let mut response = json(StatusCode::OK, &history);
    if let Some(next) = &history.next {
        link(
            &mut response,
            request,
            if order == Order::Ascending { "from" } else { "until" },
            next,
        );
    }
    Ok(retained::until_read(response, turn))
}

/// `from=` and `until=` of a query of the past.
pub(super) fn range(params: &Params) -> Result<(Start, Until), Problem> {
    let now = crate::clock::now_nanos();
    let from = match params.one("from")? {
        None => Start::Earliest,
        Some(text) => start("from", text, now)?,
    };
    let until = match params.one("until")? {
        None => Until::Head,
        Some(text) => match (time(text), text.parse(), start("until", text, now)) {
            (Some(nanos), _, _) => Until::Time(nanos),
            (_, Ok(cursor), _) => Until::Cursor(cursor),
            (_, _, Ok(Start::Since(nanos))) => Until::Time(nanos),
            _ => {
                return Err(Problem::field(
                    "until",
                    "until is a cursor, an RFC 3339 time (in a URL its + is written %2B), or -10m (s, m, h, d).",
                ));
            }
        },
    };
    Ok((from, until))
}

pub(super) fn budget(broker: &Broker) -> Budget {
    let query = &broker.config().query;
    Budget { events: query.scan_events, bytes: query.scan_bytes }
}

pub(super) fn unavailable() -> Problem {
    let detail = "The log cannot be read now. Repeat after Retry-After.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not now", detail)
        .retry_after(std::time::Duration::from_secs(2))
}

/// The next page as a link (RFC 8288): the same URL, with one parameter replaced.
pub(super) fn link(response: &mut Response<Answer>, request: &Parts, parameter: &str, next: &str) {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes())
    {
        if name != parameter {
            query.append_pair(&name, &value);
        }
    }
    query.append_pair(parameter, next);
    let link = format!("<{}?{}>; rel=\"next\"", request.uri.path(), query.finish());
    if let Ok(link) = HeaderValue::from_str(&link) {
        response.headers_mut().insert(header::LINK, link);
    }
}
