use super::*;

fn good() -> Verdict {
    Verdict::good(reasons::ACCEPTED, "")
}

fn facts() -> Facts {
    Facts {
        accepted: good(),
        stream_ready: good(),
        available: good(),
        exposed: good(),
        stream: None,
        brokers: Some(Brokers { desired: 3, replicas: 3, ready: 2, ..Brokers::default() }),
        url: Some("http://x/events".into()),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn find<'a>(status: &'a EventChannelStatus, kind: &str) -> &'a Condition {
    status.conditions.iter().find(|c| c.type_ == kind).unwrap()
}

#[test]
fn a_visit_that_finds_nothing_new_changes_nothing() {
    let first = status(&EventChannelStatus::default(), Some(1), &facts(), at(1));
    let second = status(&first, Some(1), &facts(), at(2));
    assert_eq!(first, second, "not even a time");
    assert_eq!(first.brokers.as_deref(), Some("2/3"));
    let kinds: Vec<_> = first.conditions.iter().map(|c| &*c.type_).collect();
    assert_eq!(kinds, ["Accepted", "StreamReady", "Available", "Exposed", "Ready"]);
    assert!(first.conditions.iter().all(|c| c.observed_generation == Some(1)));
}

#[test]
fn the_time_moves_with_the_status_alone() {
    let first = status(&EventChannelStatus::default(), Some(1), &facts(), at(1));
    let reworded =
        Facts { available: Verdict::good(reasons::SOME_BROKERS_READY, "1 of 3"), ..facts() };
    let second = status(&first, Some(2), &reworded, at(2));
    assert_eq!(find(&second, "Available").last_transition_time, Time(at(1)));
    assert_eq!(find(&second, "Available").reason, reasons::SOME_BROKERS_READY);
    let broken = Facts { available: Verdict::bad(reasons::WAITING, "0 of 3"), ..facts() };
    let third = status(&second, Some(2), &broken, at(3));
    assert_eq!(find(&third, "Available").last_transition_time, Time(at(3)));
    assert_eq!(find(&third, "Ready").last_transition_time, Time(at(3)));
}

#[test]
fn ready_is_the_sum_and_says_what_is_missing() {
    let broken = Facts {
        stream_ready: Verdict::bad(reasons::NATS_UNREACHABLE, "nats://a does not answer"),
        available: Verdict { holds: None, ..Verdict::bad(reasons::BLOCKED, "") },
        ..facts()
    };
    let status = status(&EventChannelStatus::default(), Some(1), &broken, at(1));
    let ready = find(&status, "Ready");
    assert_eq!((&*ready.status, &*ready.reason), ("False", reasons::NATS_UNREACHABLE));
    assert_eq!(ready.message, "StreamReady: nats://a does not answer");
    let unknown = Facts { available: Verdict::blocked("the spec"), ..facts() };
    let status = super::status(&EventChannelStatus::default(), Some(1), &unknown, at(1));
    assert_eq!(find(&status, "Ready").status, "Unknown");
}

#[test]
fn what_was_not_looked_at_stays() {
    let first = status(&EventChannelStatus::default(), Some(1), &facts(), at(1));
    let blind = Facts {
        accepted: Verdict::bad(reasons::INVALID_SPEC, "no"),
        brokers: None,
        url: None,
        ..facts()
    };
    let second = status(&first, Some(2), &blind, at(2));
    assert_eq!((second.url, second.brokers), (first.url, first.brokers));
}

#[test]
fn a_paused_channel_keeps_what_it_was_told_and_says_so_once() {
    let first = status(&EventChannelStatus::default(), Some(1), &facts(), at(1));
    let second = paused(&first, at(2));
    assert_eq!(find(&second, "Ready"), find(&first, "Ready"));
    assert_eq!(paused(&second, at(3)), second);
    let resumed = status(&second, Some(1), &facts(), at(4));
    assert_eq!(resumed, first, "without a trace");
}

#[test]
fn long_messages_are_cut_between_characters() {
    let long = bounded(&"ä".repeat(5000));
    assert!(long.len() <= 4100 && long.ends_with('…'));
}
