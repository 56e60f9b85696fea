//! A request for a channel, as its handlers see it.

use std::sync::Arc;

use eventcast_wire::filter::Filter;
use http::request::Parts;

use super::{
    params::{Params, known::Known},
    problem::Problem,
};
use crate::{
    access::Grant,
    broker::Broker,
    channel::Channel,
    client::{Client, client_address},
    request::RequestContext,
};

/// A request that its client may make.
pub(super) struct ChannelRequest<'a> {
    pub(super) broker: &'a Arc<Broker>,
    pub(super) channel: &'a Channel,
    pub(super) context: &'a RequestContext,
    pub(super) grant: Grant,
    pub(super) head: Parts,
}

impl ChannelRequest<'_> {
    /// The query parameters. Unknown ones are refused.
    pub(super) fn params(&self, known: &'static Known) -> Result<Params, Problem> {
        Params::of(&self.head.uri, &self.head.headers, known)
    }

    /// The filter that `params` ask for, narrowed to what is granted. `past`: the request reads past events.
    pub(super) fn filter(&self, params: &Params, past: bool) -> Result<Filter, Problem> {
        Ok(self.grant.narrow(params.filter(past)?)?)
    }

    /// The client that limits are counted for.
    pub(super) fn client(&self) -> Client {
        let trusted = &self.broker.config().limits.trusted_proxies;
        Client::of(client_address(self.context.peer, &self.head.headers, trusted))
    }
}
