//! The registry: limits, the index by channel and subject, the drain.

use eventcast_wire::filter::Filter;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::identity::Identity;

fn client(last: u8) -> Client {
    Client::of([192, 0, 2, last].into())
}

fn add(registry: &mut Registry, channel: &str, subject: Option<&str>, from: u8) -> usize {
    let id = RandomId::generate();
    let identity = subject.map(|subject| Identity { issuer: "i".into(), subject: subject.into() });
    let info = SessionInfo {
        id,
        channel: channel.into(),
        identity,
        renewal: id,
        filter: Arc::new(Filter::everything()),
        began_at: 0,
        issued_at: None,
        stall_timeout: Duration::from_secs(1),
        kill: CancellationToken::new(),
        mailbox: None,
    };
    let connection = crate::sockets::tests::connection();
    let grant_end = GrantEnd::new(Instant::now(), None);
    let session = Session::new(info, client(from), connection, grant_end, 1, &Arc::default());
    registry.insert(Arc::new(session), client(from))
}

#[test]
fn sessions_are_found_by_channel_and_subject_until_they_end() {
    let sessions = Sessions::new();
    let keys: Vec<_> = {
        let mut registry = sessions.registry.lock();
        [("a/x", Some("ann")), ("a/x", Some("bob")), ("a/x", None), ("a/y", Some("ann"))]
            .map(|(channel, subject)| add(&mut registry, channel, subject, 1))
            .into()
    };
    let ids = |channel: &str, subject: Option<&str>| {
        let found = sessions.select(channel, subject);
        let registry = sessions.registry.lock();
        let number = |s: &Arc<Session>| registry.by_id[&s.info().id].iter().next().unwrap() + 1;
        let mut ids: Vec<_> = found.iter().map(number).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids("a/x", None), [1, 2, 3]);
    assert_eq!(ids("a/x", Some("ann")), [1]);
    assert_eq!(ids("a/y", Some("ann")), [4]);
    assert_eq!(ids("a/y", Some("bob")), [0; 0]);
    assert_eq!((sessions.count_of("a/x"), sessions.count()), (3, 4));

    sessions.remove(keys[0], &client(1));
    assert_eq!(ids("a/x", Some("ann")), [0; 0]);
    assert_eq!(ids("a/x", None), [2, 3]);
    keys[1..].iter().for_each(|key| sessions.remove(*key, &client(1)));
    let registry = sessions.registry.lock();
    assert!(registry.by_channel.is_empty() && registry.per_client.is_empty(), "nothing is left");
    assert!(registry.by_id.is_empty(), "nor here");
}

#[test]
fn limits_refuse_in_order_and_a_drain_refuses_all() {
    let mut registry = Registry::default();
    let limits = Limits { subscribers: 3, subscribers_per_address: 2, ..Limits::default() };
    let check = |registry: &Registry, channel: &str, from: u8, limit: usize| {
        registry.check(channel, &client(from), &limits, limit)
    };
    add(&mut registry, "a/x", None, 1);
    add(&mut registry, "a/x", None, 1);
    assert_eq!(check(&registry, "a/y", 1, 0), Err(Refusal::Address));
    assert_eq!(check(&registry, "a/x", 2, 2), Err(Refusal::Channel));
    assert_eq!(check(&registry, "a/x", 2, 3), Ok(()));
    assert_eq!(check(&registry, "a/y", 2, 2), Ok(()));
    add(&mut registry, "a/y", None, 2);
    assert_eq!(check(&registry, "a/y", 3, 0), Err(Refusal::Process));
    registry.draining = true;
    assert_eq!(check(&registry, "a/y", 3, 0), Err(Refusal::Draining));
}

#[test]
fn the_first_reason_to_close_counts() {
    let sessions = Sessions::new();
    add(&mut sessions.registry.lock(), "a/x", None, 1);
    let session = &sessions.all()[0];
    assert_eq!(session.close_reason(), None);
    session.close(CloseReason::MaxAge);
    session.close(CloseReason::Draining);
    assert_eq!(session.close_reason(), Some(CloseReason::MaxAge));
}
