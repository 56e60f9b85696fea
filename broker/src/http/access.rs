//! `GET …/access`: what the client may do on the channel.

use http::{Response, StatusCode};
use serde::Serialize;

use super::{Answer, channel_request::ChannelRequest, json, params::known, problem::Problem};
use crate::{access::AuthMethod, clock::rfc3339};

#[derive(Serialize)]
struct Access<'a> {
    way: &'static str,
    issuer: Option<&'a str>,
    subject: Option<&'a str>,
    subscribe: Option<Reading<'a>>,
    publish: Option<Publishing<'a>>,
    manage: bool,
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct Reading<'a> {
    topics: Vec<&'a str>,
    broadcast: bool,
}

#[derive(Serialize)]
struct Publishing<'a> {
    topics: Vec<&'a str>,
    types: Vec<&'a str>,
    broadcast: bool,
    source: Option<&'a str>,
}

pub(super) fn describe(request: &ChannelRequest<'_>) -> Result<Response<Answer>, Problem> {
    request.params(&known::ACCESS)?;
    let grant = &request.grant;
    let reading = |topics| {
        let (topics, broadcast) = topics;
        Reading { topics, broadcast }
    };
    let identity = grant.identity.as_ref();
    Ok(json(
        StatusCode::OK,
        &Access {
            way: grant.auth_method.as_str(),
            issuer: identity
                .map(|i| &*i.issuer)
                .filter(|_| grant.auth_method != AuthMethod::ApiKey),
            subject: identity.map(|i| &*i.subject),
            subscribe: grant.subscribe.as_ref().map(|topics| reading(topics.describe())),
            publish: grant.publish.as_ref().map(|publish| {
                let (topics, broadcast) = publish.topics.describe();
                let types = publish.types.iter().map(|t| t.text()).collect();
                Publishing { topics, types, broadcast, source: publish.source.as_deref() }
            }),
            manage: grant.manage,
            expires_at: grant.expires.and_then(rfc3339),
        },
    ))
}
