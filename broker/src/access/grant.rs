//! What a client may do on a channel.

use std::sync::Arc;

use eventcast_crds::config::{Access, Action};
use eventcast_wire::{
    filter::{Asked, Filter},
    grants::{NotGranted, Topics},
    topic::Pattern,
};

use crate::identity::{Identity, RandomId};

/// How a client proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AuthMethod {
    /// It did not.
    Anonymous,
    /// With a JSON Web Token.
    Token,
    /// With a ticket.
    Ticket,
    /// With an API key.
    ApiKey,
    /// With a token of a Kubernetes service account.
    Kubernetes,
    /// With a client certificate.
    Certificate,
    /// It is a broker that probes the delivery, with a ticket of its own.
    Probe,
}

impl AuthMethod {
    /// The label of metrics and log lines.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Token => "token",
            Self::Ticket => "ticket",
            Self::ApiKey => "api-key",
            Self::Kubernetes => "kubernetes",
            Self::Certificate => "certificate",
            Self::Probe => "probe",
        }
    }
}

/// What a client may publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishGrant {
    pub(crate) topics: Topics,
    /// Patterns of types; all if empty.
    pub(crate) types: Vec<Pattern>,
    /// The source of every event, instead of the publisher's.
    pub(crate) source: Option<Arc<str>>,
}

/// Why an event may not be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotPublishable {
    /// Its topic is not granted.
    #[error("the topic {0:?} is not granted")]
    Topic(String),
    /// Events without a topic are not granted.
    #[error("publishing without a topic, to all subscribers, is not granted")]
    Broadcast,
    /// Its type is not granted.
    #[error("the type {0:?} is not granted")]
    Type(String),
}

impl PublishGrant {
    /// Every topic and type.
    pub(crate) fn everything() -> Self {
        Self { topics: Topics::everything(), types: Vec::new(), source: None }
    }

    /// Checks one event. `event_type` is the name that subscribers see.
    ///
    /// # Errors
    /// It may not be published.
    pub(crate) fn check(
        &self,
        topic: Option<&str>,
        event_type: &str,
    ) -> Result<(), NotPublishable> {
        if !self.topics.cover(topic) {
            return Err(
                topic.map_or(NotPublishable::Broadcast, |t| NotPublishable::Topic(t.into()))
            );
        }
        if !self.types.is_empty() && !self.types.iter().any(|p| p.matches(event_type)) {
            return Err(NotPublishable::Type(event_type.into()));
        }
        Ok(())
    }
}

/// What a client may do on a channel, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) auth_method: AuthMethod,
    /// Who the client is, if it was authenticated.
    pub(crate) identity: Option<Identity>,
    /// What it may read; `None`: nothing.
    pub(crate) subscribe: Option<Topics>,
    /// What it may publish; `None`: nothing.
    pub(crate) publish: Option<PublishGrant>,
    /// Whether it may manage the channel.
    pub(crate) manage: bool,
    /// When its credential was issued, in seconds since 1970.
    pub(crate) issued_at: Option<i64>,
    /// When it ends, in seconds since 1970; leeway is included.
    pub(crate) expires: Option<i64>,
    /// The class of its quota.
    pub(crate) quota: Option<Arc<str>>,
    /// The ticket that it came with, and when that was issued.
    pub(crate) ticket: Option<(RandomId, i64)>,
}

impl Grant {
    /// The grant of a client without a credential.
    pub(crate) fn anonymous(access: &Access) -> Self {
        let patterns: Vec<_> =
            access.anonymous_topics.iter().filter_map(|p| Pattern::new(p).ok()).collect();
        // A pattern that cannot be parsed must not open everything.
        let is_limited = !access.anonymous_topics.is_empty();
        let topics = |broadcast: bool| {
            if is_limited { Topics::new(patterns.clone(), broadcast) } else { Topics::everything() }
        };
        let may = |action| access.anonymous.contains(&action);
        let publish = may(Action::Publish)
            .then(|| PublishGrant { topics: topics(false), ..PublishGrant::everything() });
        Self {
            auth_method: AuthMethod::Anonymous,
            identity: None,
            subscribe: may(Action::Subscribe).then(|| topics(true)),
            publish,
            manage: false,
            issued_at: None,
            expires: None,
            quota: None,
            ticket: None,
        }
    }

    /// Whether the client may do `action` at all.
    pub(crate) fn allows(&self, action: Action) -> bool {
        match action {
            Action::Subscribe => self.subscribe.is_some(),
            Action::Publish => self.publish.is_some(),
            Action::Manage => self.manage,
        }
    }

    /// Whether the client may read the whole channel, so that counts and cursors of all events tell it nothing new.
    pub(crate) fn reads_everything(&self) -> bool {
        self.subscribe.as_ref().is_some_and(Topics::is_everything)
    }

    /// Narrows what a client asks for to what is granted. Every filter that reads a log for a client comes from here.
    ///
    /// # Errors
    /// The client asks for topics that are not granted.
    pub(crate) fn narrow(&self, asked: Asked) -> Result<Filter, NotGranted> {
        match &self.subscribe {
            Some(topics) => topics.narrow(asked),
            None => Topics::nothing().narrow(asked),
        }
    }
}
