//! `GET …/subscribers` lists the open streams of all brokers; `DELETE …/subscribers?subject=` or `?session=` closes some of them, and
//! revokes the credentials that they were opened with.

use http::{Response, StatusCode};
use serde::Serialize;

use super::{Answer, channel_request::ChannelRequest, json, params::known, problem::Problem};
use crate::{
    channel::DisconnectOutcome,
    cluster::{NotStored, PeerRequest, Record, Revocation, Revoked},
    sessions::{ListRequest, Listing, MAX_LISTED},
};

/// Streams that are listed if the client names no `limit`.
const DEFAULT_LISTED: usize = 100;

/// `brokers` is the number of brokers that answered, including this one.
#[derive(Serialize)]
struct List {
    #[serde(flatten)]
    listing: Listing,
    brokers: usize,
}

#[derive(Serialize)]
struct Disconnected {
    closed: usize,
    brokers: usize,
}

pub(super) async fn list(request: &ChannelRequest<'_>) -> Result<Response<Answer>, Problem> {
    let params = request.params(&known::SUBSCRIBERS)?;
    let limit = params.number("limit", DEFAULT_LISTED, 0, MAX_LISTED)?;
    let asked = ListRequest { subject: params.one("subject")?.map(str::to_owned), limit };
    let channel = request.channel;
    let mut listing = channel.subscribers().list(&asked);
    let others: Vec<Listing> = channel.cluster().messages.ask(PeerRequest::List, &asked).await;
    let brokers = 1 + others.len();
    for other in others {
        listing.total += other.total;
        listing.subscribers.extend(other.subscribers);
    }
    listing.subscribers.truncate(limit);
    Ok(json(StatusCode::OK, &List { listing, brokers }))
}

pub(super) async fn disconnect(request: &ChannelRequest<'_>) -> Result<Response<Answer>, Problem> {
    let params = request.params(&known::DISCONNECT)?;
    let what = match (params.one("subject")?, params.one("session")?) {
        (Some(subject), None) if !subject.is_empty() => Revoked::Subject(subject.to_owned()),
        (None, Some(id)) => {
            let id = id.parse();
            Revoked::Id(id.map_err(|why| Problem::field("session", format!("session {why}.")))?)
        }
        _ => {
            let detail = "Name the streams to disconnect: subject= or session=.";
            return Err(Problem::field("subject", detail));
        }
    };
    let (channel, cluster) = (request.channel, request.channel.cluster());
    if !cluster.messages.can_ask() {
        return Err(NotStored::Unavailable.into());
    }
    let revocation = Revocation::now(what);
    let mut answers = vec![channel.subscribers().disconnect(&revocation)];
    answers.extend(
        cluster.messages.ask::<DisconnectOutcome>(PeerRequest::Disconnect, &revocation).await,
    );
    // For brokers that did not answer, and for those that start later.
    cluster.store.put(&Record::Revocation(revocation)).await?;
    for ticket in answers.iter().filter_map(|answer| answer.ticket) {
        let revocation = Revocation::now(Revoked::Id(ticket));
        cluster.store.put(&Record::Revocation(revocation)).await?;
    }
    let closed = answers.iter().map(|answer| answer.closed).sum::<usize>();
    tracing::info!(
        channel = &**channel.key(),
        by = request.grant.identity.as_ref().map(|identity| &*identity.subject),
        closed,
        "disconnected subscribers"
    );
    Ok(json(StatusCode::OK, &Disconnected { closed, brokers: answers.len() }))
}
