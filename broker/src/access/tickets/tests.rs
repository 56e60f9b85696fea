//! Tickets without NATS: what they hold, and who may use them.

use super::*;
use crate::{
    access::credential::TICKET_PREFIX,
    cluster::{Record, Revocation, TicketKey},
};

fn state() -> Arc<SharedState> {
    let state = Arc::new(SharedState::new());
    let today = u32::try_from(now_millis() / 86_400_000).unwrap();
    state.apply(&Record::Key(TicketKey { day: today, key: [3; 32] }));
    state.mark_read();
    state
}

fn tickets(state: &Arc<SharedState>, channel: &str) -> Arc<Tickets> {
    Arc::new(Tickets::new(Arc::clone(state), channel.into()))
}

fn ann() -> Identity {
    Identity { issuer: "https://i".into(), subject: "ann".into() }
}

fn grant(expires_in: i64) -> Grant {
    Grant {
        auth_method: AuthMethod::Token,
        identity: Some(ann()),
        subscribe: Some(patterns(&["user.ann".into()], true)),
        publish: None,
        manage: false,
        issued_at: Some(now_millis() / 1000),
        expires: Some(now_millis() / 1000 + expires_in),
        quota: None,
        ticket: None,
    }
}

fn request(seconds: u64) -> TicketRequest {
    TicketRequest { identity: ann(), topics: patterns(&["user.ann".into()], true), seconds }
}

async fn check(of: &Tickets, ticket: &str) -> Result<Arc<Grant>, String> {
    of.verify(ticket, true).await.map_err(|denied| match denied {
        Denied::Invalid(invalid) => invalid.check.into(),
        other => format!("{other:?}"),
    })
}

#[tokio::test]
async fn a_ticket_grants_what_it_was_taken_for_and_not_longer_than_its_credential() {
    let tickets = tickets(&state(), "a/b");
    let issued = tickets.issue(&grant(100), request(3600)).unwrap();
    assert!(issued.ticket.len() < 330, "{}", issued.ticket.len());
    let granted = check(&tickets, &issued.ticket).await.unwrap();
    assert_eq!(granted.identity, Some(ann()));
    assert_eq!(granted.subscribe, Some(patterns(&["user.ann".into()], true)));
    assert_eq!((granted.publish.clone(), granted.manage), (None, false));
    assert!((issued.expires - now_millis() / 1000) <= 100);
}

#[tokio::test]
async fn a_changed_ticket_and_one_of_another_channel_are_nothing() {
    let state = state();
    let of_channel = tickets(&state, "a/b");
    let ticket = of_channel.issue(&grant(100), request(60)).unwrap().ticket;
    for at in (TICKET_PREFIX.len()..ticket.len()).step_by(7) {
        let mut changed = ticket.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(check(&of_channel, &changed).await.is_err(), "changed at {at}");
        assert!(check(&of_channel, &ticket[..at]).await.is_err(), "cut at {at}");
    }
    assert_eq!(check(&tickets(&state, "a/c"), &ticket).await, Err("form".into()));
    let renewal = of_channel.issue(&grant(100), request(60)).unwrap().renewal.unwrap();
    let as_ticket = renewal.replacen("evr_", TICKET_PREFIX, 1);
    assert_eq!(check(&of_channel, &as_ticket).await, Err("form".into()));
    assert!(check(&of_channel, &ticket).await.is_ok());
}

#[tokio::test]
async fn revoked_tickets_are_refused_and_later_ones_are_not() {
    let state = state();
    let tickets = tickets(&state, "a/b");
    let ticket = tickets.issue(&grant(100), request(60)).unwrap().ticket;
    state.apply(&Record::Revocation(Revocation::now(Revoked::Subject("bob".into()))));
    assert!(check(&tickets, &ticket).await.is_ok());
    state.apply(&Record::Revocation(Revocation::now(Revoked::Subject("ann".into()))));
    assert_eq!(check(&tickets, &ticket).await, Err("revoked".into()));
    let later = Grant { issued_at: Some(now_millis() / 1000 + 2), ..grant(100) };
    let ticket = tickets.issue(&later, request(60)).unwrap().ticket;
    assert!(check(&tickets, &ticket).await.is_ok(), "a new login");
}

#[tokio::test]
async fn a_renewal_needs_the_same_client_and_extends_the_ticket() {
    let state = state();
    let tickets = tickets(&state, "a/b");
    let issued = tickets.issue(&grant(1), request(1)).unwrap();
    let renewal = issued.renewal.unwrap();
    let bob = Identity { issuer: "https://i".into(), subject: "bob".into() };
    let other = Grant { identity: Some(bob), ..grant(100) };
    assert!(tickets.renew(&renewal, &other, 3600).await.unwrap().is_err());
    let record = tickets.renew(&renewal, &grant(100), 3600).await.unwrap().unwrap();
    assert!(record.until <= now_millis() / 1000 + 100);
    state.apply(&Record::Renewal(record.clone()));
    let granted = check(&tickets, &issued.ticket).await.unwrap();
    assert_eq!(granted.expires, Some(record.until));
    let narrower = cluster::Renewal { topics: Vec::new(), until: record.until + 1, ..record };
    state.apply(&Record::Renewal(narrower));
    let granted = check(&tickets, &issued.ticket).await.unwrap();
    assert_eq!(granted.subscribe, Some(patterns(&[], true)), "narrowed by its renewal");
}
