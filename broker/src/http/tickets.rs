//! `POST …/tickets` and `POST …/renewals/{id}`: issues tickets, short-lived credentials for reading, and renews them and open streams.

use std::sync::Arc;

use eventcast_wire::{grants::Topics, topic::Pattern};
use http::{HeaderValue, Response, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{
    Answer, RequestBody,
    channel_request::ChannelRequest,
    credentials, empty, json,
    params::known,
    problem::{Challenge, Kind, Problem},
    small_body,
    whole_number::WholeNumber,
};
use crate::{
    access::{AnotherClient, AuthMethod, Grant, TicketRequest},
    clock::rfc3339,
    cluster::Record,
    identity::Identity,
};

/// Topics that a ticket may have.
const MAX_TOPICS: usize = 32;

/// What a client asks for.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    /// Topics to narrow the ticket to.
    topics: Option<Vec<String>>,
    broadcast: Option<bool>,
    /// How long the ticket lives at most.
    seconds: Option<WholeNumber>,
    /// The subject that may use it, if not the client itself.
    subject: Option<String>,
    #[serde(rename = "as")]
    carrier: Option<Carrier>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Carrier {
    Cookie,
    Url,
}

#[derive(Serialize)]
struct Issued {
    ticket: String,
    url: String,
    expires_at: String,
    renew: Option<String>,
}

#[derive(Serialize)]
struct Renewed {
    expires_at: String,
}

/// `POST …/tickets`.
pub(super) async fn issue(
    request: &ChannelRequest<'_>,
    body: RequestBody,
) -> Result<Response<Answer>, Problem> {
    request.params(&known::TICKETS)?;
    let identity = authenticated(&request.grant)?;
    let config = request.channel.config();
    let max_seconds = config.access.tickets.max_seconds;
    if max_seconds == 0 {
        let detail = "This channel issues no tickets (access.tickets.maxSeconds is 0).";
        return Err(Problem::new(Kind::TICKETS_DISABLED, detail));
    }
    let body: Body = small_body::read(body).await?;
    let seconds = body.seconds.map_or(max_seconds, |WholeNumber(seconds)| seconds);
    if seconds == 0 || seconds > max_seconds {
        let detail = format!("seconds must be from 1 to {max_seconds}.");
        return Err(Problem::field("seconds", detail).with("limit", max_seconds));
    }
    let identity = match &body.subject {
        None => identity.clone(),
        Some(subject) if *subject == *identity.subject => identity.clone(),
        Some(subject) => of_another(&request.grant, identity, subject, &body)?,
    };
    let topics = topics(&request.grant, &body)?;
    let ticket = TicketRequest { identity, topics, seconds };
    let tickets = Arc::clone(request.channel.access().tickets());
    // The key of the day may not have been read yet.
    request.channel.cluster().state.wait_until_known().await;
    let issued =
        tickets.issue(&request.grant, ticket).map_err(|denied| credentials::problem(&denied))?;
    let path = format!("/channels/{}", request.channel.key());
    if body.carrier == Some(Carrier::Cookie) {
        return as_cookie(request, &config.access.cookie.name, &issued.ticket);
    }
    Ok(json(
        StatusCode::CREATED,
        &Issued {
            url: format!("{path}/events?ticket={}", issued.ticket),
            renew: issued.renewal.map(|renewal| format!("{path}/renewals/{renewal}")),
            ticket: issued.ticket,
            expires_at: rfc3339(issued.expires).unwrap_or_default(),
        },
    ))
}

/// `POST …/renewals/{sealed}`.
pub(super) async fn renew(
    request: &ChannelRequest<'_>,
    sealed: &str,
) -> Result<Response<Answer>, Problem> {
    request.params(&known::RENEWALS)?;
    authenticated(&request.grant)?;
    let channel = request.channel;
    let max_seconds = channel.config().access.tickets.max_seconds;
    let renewed = channel.access().tickets().renew(sealed, &request.grant, max_seconds).await;
    let record = renewed.map_err(|denied| credentials::problem(&denied))?;
    let record = record.map_err(|AnotherClient| {
        let detail = "The stream or ticket belongs to another client. Renew it with a credential of the same issuer and subject.";
        Problem::new(Kind::ANOTHER_CLIENT, detail)
    })?;
    let expires_at = rfc3339(record.until).unwrap_or_default();
    let record = Record::Renewal(record);
    channel.cluster().store.put(&record).await?;
    // Here at once; on other brokers when the record reaches them.
    channel.cluster().state.apply(&record);
    request.broker.sessions.apply(channel.key(), &record);
    Ok(json(StatusCode::OK, &Renewed { expires_at }))
}

/// The identity of the client. A ticket cannot be used to take or renew tickets: otherwise it could be extended forever.
fn authenticated(grant: &Grant) -> Result<&Identity, Problem> {
    match &grant.identity {
        Some(identity) if !matches!(grant.auth_method, AuthMethod::Ticket | AuthMethod::Probe) => {
            Ok(identity)
        }
        Some(_) => {
            let detail = "A ticket cannot be used for this. Send the credential that the ticket was taken with.";
            Err(Problem::new(Kind::NOT_GRANTED, detail).challenge(Challenge::InsufficientScope))
        }
        None => Err(super::authorize::unauthorized(eventcast_crds::config::Action::Subscribe)),
    }
}

/// The identity of a ticket for somebody else.
fn of_another(
    grant: &Grant,
    identity: &Identity,
    subject: &str,
    body: &Body,
) -> Result<Identity, Problem> {
    if !grant.manage {
        let detail = "A ticket for another subject requires a credential with the grant to manage the channel.";
        return Err(Problem::new(Kind::NOT_GRANTED, detail)
            .with("field", "subject")
            .challenge(Challenge::InsufficientScope));
    }
    if body.topics.is_none() {
        let detail = "A ticket for another subject must name its topics.";
        return Err(Problem::field("topics", detail));
    }
    if subject.is_empty() || subject.len() > 200 || subject.chars().any(char::is_control) {
        return Err(Problem::field(
            "subject",
            "subject must have 1 to 200 bytes without control characters.",
        ));
    }
    Ok(Identity { issuer: Arc::clone(&identity.issuer), subject: subject.into() })
}

/// The topics of the ticket, all of which the client must be granted.
fn topics(grant: &Grant, body: &Body) -> Result<Topics, Problem> {
    let granted = grant.subscribe.clone().unwrap_or_else(Topics::nothing);
    let (_, broadcast) = granted.describe();
    let broadcast = body.broadcast.unwrap_or(broadcast);
    let Some(topics) = &body.topics else {
        let everything = Topics::everything();
        let asked = if broadcast { everything } else { everything.without_broadcast() };
        return Ok(granted.meet(&asked)?);
    };
    if topics.len() > MAX_TOPICS {
        return Err(
            Problem::field("topics", "There are too many topics.").with("limit", MAX_TOPICS)
        );
    }
    let parsed = topics.iter().map(|topic| {
        Pattern::new(topic).map_err(|why| Problem::field("topics", format!("A topic {why}.")))
    });
    let asked = Topics::new(parsed.collect::<Result<_, _>>()?, broadcast);
    if granted.contains(&asked) {
        return Ok(asked);
    }
    let detail = "The grant of this client does not cover all topics of the ticket.";
    Err(Problem::new(Kind::NOT_GRANTED, detail)
        .with("field", "topics")
        .challenge(Challenge::InsufficientScope))
}

/// `204` with the ticket in a cookie of this host, so that it is in no URL. For a page of another site the cookie must be `SameSite=None`,
/// and browsers require `Partitioned`.
fn as_cookie(
    request: &ChannelRequest<'_>,
    name: &str,
    ticket: &str,
) -> Result<Response<Answer>, Problem> {
    let site = request.head.headers.get("sec-fetch-site");
    let same_site =
        if site.is_some_and(|site| site == "cross-site") { "None; Partitioned" } else { "Lax" };
    let cookie = format!("{name}={ticket}; Path=/; HttpOnly; Secure; SameSite={same_site}");
    let mut cookie = HeaderValue::try_from(cookie)
        .map_err(|_| Problem::field("as", "The ticket does not fit into a cookie."))?;
    cookie.set_sensitive(true);
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
