//! A request for a channel, as its handlers see it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use eventcast_crds::config::{Action, Quota};
use eventcast_wire::{filter::Filter, grants::NotGranted};
use http::{HeaderValue, request::Parts};

use super::{
    authorize::unauthorized,
    params::{Params, known::KnownParams},
    problem::Problem,
};
use crate::{
    access::{AuthMethod, Grant},
    broker::Broker,
    channel::Channel,
    client::Client,
    identity::Identity,
    log::LogLease,
    request::RequestContext,
    spans::Parent,
};

/// How long a query waits for a log that was parked.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);

/// An authorized request for a channel.
pub(super) struct ChannelRequest<'a> {
    pub(super) broker: &'a Arc<Broker>,
    pub(super) channel: &'a Channel,
    pub(super) context: &'a RequestContext,
    /// The address of the client, as its proxies report it.
    pub(super) client_address: IpAddr,
    pub(super) grant: Arc<Grant>,
    /// The trace that it belongs to.
    pub(super) trace: Option<Parent>,
    pub(super) head: Parts,
}

impl ChannelRequest<'_> {
    /// The log of the channel, which stays attached while the lease is held. A parked log is attached first.
    pub(super) async fn attached_log(&self) -> LogLease {
        self.channel.log().lease_attached(ATTACH_TIMEOUT).await
    }

    /// The query parameters. Unknown ones are refused.
    pub(super) fn params(&self, known: &'static KnownParams) -> Result<Params, Problem> {
        Params::of(&self.head.uri, &self.head.headers, known)
    }

    /// The filter that `params` ask for, narrowed to what is granted. `past`: the request reads past events.
    pub(super) fn filter(&self, params: &Params, past: bool) -> Result<Filter, Problem> {
        let asked = params.filter(past)?;
        self.grant.narrow(asked).map_err(|refusal| match refusal {
            NotGranted::TooManyPatterns => refusal.into(),
            // A browser's user may log in and get more.
            _ if self.grant.auth_method == AuthMethod::Anonymous => unauthorized(Action::Subscribe),
            _ => refusal.into(),
        })
    }

    /// The topics of `filter`, if the grant does not cover everything: percent-encoded, separated by commas.
    pub(super) fn narrowed_topics(&self, filter: &Filter) -> Option<HeaderValue> {
        if self.grant.reads_everything() {
            return None;
        }
        HeaderValue::try_from(filter.describe_topics()).ok()
    }

    /// The identity of the client and the quota of its class, if it has one.
    pub(super) fn quota(&self) -> Option<(Identity, Quota)> {
        let class = self.grant.quota.as_deref()?;
        let config = self.channel.config();
        let quota = config.access.quotas.iter().find(|quota| quota.name == class)?;
        Some((self.grant.identity.clone()?, quota.clone()))
    }

    /// The client that limits are counted for.
    pub(super) fn client(&self) -> Client {
        Client::of(self.client_address)
    }
}
