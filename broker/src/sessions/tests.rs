//! The registry: limits, the index by channel and subject, the drain.

use eventcast_wire::filter::Filter;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::identity::Identity;

fn client(last: u8) -> Client {
    Client::of([192, 0, 2, last].into())
}

fn add(registry: &mut Registry, channel: &str, subject: Option<&str>, from: u8) -> usize {
    let session = session(channel, subject, from, false, &Arc::default());
    registry.insert(session, client(from))
}

fn session(
    channel: &str,
    subject: Option<&str>,
    from: u8,
    is_probe: bool,
    ending: &Arc<AtomicUsize>,
) -> Arc<Session> {
    let id = RandomId::generate();
    let identity = subject.map(|subject| Identity { issuer: "i".into(), subject: subject.into() });
    let info = SessionInfo {
        id,
        channel: channel.into(),
        identity,
        renewal: id,
        filter: Arc::new(Filter::everything()),
        protocol: "HTTP/1.1",
        began_at: 0,
        issued_at: None,
        stall_timeout: Duration::from_secs(1),
        kill: CancellationToken::new(),
        mailbox: is_probe.then(Box::default),
    };
    let connection = crate::sockets::tests::connection();
    let grant_end = GrantEnd::new(Instant::now(), None);
    Arc::new(Session::new(info, client(from), connection, grant_end, 1, ending))
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
        let key_of = |id| registry.by_id.range((id, 0)..).next().unwrap().1;
        let number = |s: &Arc<Session>| key_of(s.info().id) + 1;
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

#[test]
fn probes_are_no_streams_of_clients_and_streams_that_are_to_end_do_not_stay() {
    let sessions = Sessions::new();
    let keys = [false, false, true].map(|is_probe| {
        let session = session("a/x", None, 1, is_probe, &sessions.ending);
        sessions.registry.lock().insert(session, client(1))
    });
    let counts = || (sessions.count(), sessions.count_of_clients(), sessions.count_of_remaining());
    assert_eq!(counts(), (3, 2, 2));
    let all = sessions.all();
    let [first, second, probe] = &*all else { panic!("three") };
    assert!(first.close(CloseReason::MaxAge) && !first.close(CloseReason::Rebalance));
    assert_eq!(counts(), (3, 2, 1));
    assert!(probe.close(CloseReason::Draining));
    assert_eq!(counts(), (3, 2, 1), "only streams of clients are counted");
    assert!(second.close(CloseReason::Rebalance));
    assert_eq!(counts(), (3, 2, 0));
    drop(all);
    for (key, counted) in keys.into_iter().zip([(2, 1, 0), (1, 0, 0), (0, 0, 0)]) {
        sessions.remove(key, &client(1));
        assert_eq!(counts(), counted);
    }
    assert_eq!(sessions.ending.load(Relaxed), 0);
}

#[test]
fn streams_that_are_young_or_behind_or_about_to_end_are_not_closed_for_balance() {
    let sessions = Sessions::new();
    let add = |is_probe| {
        let session = session("a/x", None, 1, is_probe, &sessions.ending);
        sessions.registry.lock().insert(Arc::clone(&session), client(1));
        session
    };
    let streams: Vec<_> = [false, false, false, false, true].map(add).into();
    // The first has not read anything yet.
    streams[1..].iter().for_each(|stream| stream.reached_head());
    streams[1].reached(7);
    streams[2].close(CloseReason::MaxAge);
    let mut shedder = Shedder::new(&sessions);
    let mut shed = |min_age| {
        shedder.reset();
        shedder.close(9, 100, min_age)
    };
    assert_eq!(shed(Duration::from_secs(60)), 0, "all are too young");
    let told = |stream: &Arc<Session>| stream.connection().is_leaving();
    assert!(!streams.iter().any(told));
    assert_eq!(shed(Duration::ZERO), 1);
    assert_eq!(streams[3].close_reason(), Some(CloseReason::Rebalance));
    assert_eq!(streams.iter().map(told).collect::<Vec<_>>(), [false, false, false, true, false]);
    assert_eq!((shed(Duration::ZERO), sessions.shed_count()), (0, 1));
    streams[1].reached_head();
    sessions.begin_drain();
    assert_eq!(shed(Duration::ZERO), 0, "the drain closes them");
}
