//! `DELETE …/subscribers?subject=` or `?session=`: ends streams on all brokers, and refuses the credentials that they were opened with.

use http::{Response, StatusCode};
use serde::Serialize;

use super::{Answer, channel_request::ChannelRequest, json, params::known, problem::Problem};
use crate::cluster::{Record, Revocation, Revoked};

#[derive(Serialize)]
struct Disconnected {
    /// Streams that this broker closed.
    closed: usize,
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
            let detail = "Name whom to disconnect: subject= or session=.";
            return Err(Problem::field("subject", detail));
        }
    };
    let channel = request.channel;
    let revocation = Revocation::now(what);
    let record = Record::Revocation(revocation.clone());
    channel.store().put(&record).await?;
    channel.shared().apply(&record);
    let closed = request.broker.sessions.revoke(channel.key(), &revocation);
    Ok(json(StatusCode::OK, &Disconnected { closed }))
}
