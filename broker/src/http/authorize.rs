//! The grant of a request: verifies its credential, and checks that the grant includes the action of the request.

use std::sync::Arc;

use eventcast_crds::config::Action;
use http::{Method, request::Parts};

use super::{
    accept,
    credentials::{self, Presented, Rejected},
    problem::{Challenge, Kind, Problem},
    route::Resource,
};
use crate::{
    access::{AuthMethod, Credential, Denied, Grant, audit},
    channel::Channel,
    client::Client,
    request::RequestContext,
};

/// What a request wants.
pub(super) struct Wanted {
    /// `None`: an action that needs no grant.
    action: Option<Action>,
    /// Whether it wants a stream. A browser does not reconnect after an error status, so it gets a stream that ends with a reconnect delay.
    stream: bool,
}

impl Wanted {
    /// What a request to a resource of a channel wants.
    pub(super) fn of(resource: Resource, head: &Parts) -> Self {
        let changes = head.method == Method::POST || head.method == Method::DELETE;
        let action = match resource {
            Resource::Access => None,
            Resource::Subscribers => Some(Action::Manage),
            Resource::Tickets | Resource::Renewal => Some(Action::Subscribe),
            _ if changes => Some(Action::Publish),
            _ => Some(Action::Subscribe),
        };
        let stream = resource == Resource::Events
            && !changes
            && matches!(accept::negotiate(&head.headers), Ok(accept::Representation::Stream));
        Self { action, stream }
    }
}

/// Why a request has no grant.
pub(super) enum Refused {
    Problem(Problem),
    /// The credential of a request for a stream cannot be verified now.
    Unavailable,
}

/// The grant of the request, if it covers what is wanted.
pub(super) async fn grant(
    client: Client,
    channel: &Channel,
    context: &RequestContext,
    head: &Parts,
    wanted: &Wanted,
) -> Result<Arc<Grant>, Refused> {
    let config = channel.config();
    let refuse = |way: &str, check: &'static str, subject: Option<&str>, problem: Problem| {
        channel.metrics().access(way, check);
        audit::refused(channel.key(), way, check, subject);
        Refused::Problem(problem)
    };
    let deny = |way: &str, denied: &Denied| {
        let subject = match denied {
            Denied::Invalid(invalid) => invalid.subject.as_deref(),
            Denied::Unavailable(_) | Denied::TooMany(_) => None,
        };
        refuse(way, label(denied), subject, credentials::problem(denied))
    };
    let certificate = context.certificate.as_deref();
    let presented = match Presented::of(&config.access, head, certificate) {
        Ok(presented) => presented,
        Err(Rejected::Problem(problem)) => return Err(refuse("unknown", "form", None, problem)),
        Err(Rejected::Denied(denied)) => return Err(deny("unknown", &denied)),
    };
    let credential = presented.credential();
    let grant = match channel.access().authenticate(credential, client).await {
        Ok(grant) => grant,
        Err(Denied::Unavailable(what)) if wanted.stream => {
            channel.metrics().access(credential.form(), "unavailable");
            tracing::debug!(reason = what, "a credential cannot be checked now");
            return Err(Refused::Unavailable);
        }
        Err(denied) => {
            if let (Credential::Certificate(certificate), Denied::Invalid(_)) =
                (credential, &denied)
            {
                certificate.retire();
            }
            return Err(deny(credential.form(), &denied));
        }
    };
    let way = grant.auth_method.as_str();
    match wanted.action.filter(|action| !grant.allows(*action)) {
        None => {
            channel.metrics().access(way, "granted");
            audit::granted(channel.key(), &grant);
            Ok(grant)
        }
        Some(action) if grant.auth_method == AuthMethod::Anonymous => {
            Err(refuse(way, "no-credential", None, unauthorized(action)))
        }
        Some(action) => {
            let subject = grant.identity.as_ref().map(|identity| &*identity.subject);
            let is_open = config.access.anonymous.contains(&action);
            Err(refuse(way, "not-granted", subject, forbidden(action, is_open)))
        }
    }
}

fn label(denied: &Denied) -> &'static str {
    match denied {
        Denied::Invalid(invalid) => invalid.check,
        Denied::Unavailable(_) => "unavailable",
        Denied::TooMany(_) => "too-many",
    }
}

fn doing(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Subscribe => ("Reading this channel", "subscribe"),
        Action::Publish => ("Publishing to this channel", "publish"),
        Action::Manage => ("Managing this channel", "manage"),
    }
}

/// `401`: a credential is required. A browser does not reconnect after it.
pub(super) fn unauthorized(action: Action) -> Problem {
    let (doing, _) = doing(action);
    let detail = format!(
        "{doing} requires a credential: send Authorization: Bearer with a token or an API key, or a ticket, or connect with a client \
         certificate. What needs none is listed in access.anonymous of the channel."
    );
    Problem::new(Kind::CREDENTIAL_REQUIRED, detail).challenge(Challenge::Bare).close()
}

/// `403`: the credential is good, but does not grant this. `is_open`: it is granted to clients without one.
fn forbidden(action: Action, is_open: bool) -> Problem {
    let (doing, verb) = doing(action);
    let mut detail =
        format!("{doing} is not granted to this client: its credential has no grant to {verb}.");
    if is_open {
        detail += " Without a credential it is granted.";
    }
    Problem::new(Kind::NOT_GRANTED, detail).challenge(Challenge::InsufficientScope).close()
}
