use super::*;

fn facts() -> Facts {
    Facts {
        accepted: ConditionState::met(reasons::ACCEPTED, ""),
        stream_ready: ConditionState::met(reasons::STREAM_READY, ""),
        available: ConditionState::met(reasons::BROKERS_READY, ""),
        exposed: ConditionState::met(reasons::EXPOSED, ""),
        delivery: Delivery::NotProbed,
        autoscaled: OptionalCondition::Absent,
        balanced: OptionalCondition::Absent,
        up_to_date: OptionalCondition::Absent,
        chosen_replicas: None,
        access_ready: Some(ConditionState::met(reasons::ACCESS_READY, "")),
        pool: None,
        moved: None,
        stream: None,
        brokers: Some(Brokers { desired: 3, replicas: 3, ready: 2, ..Brokers::default() }),
        url: Some("http://x/events".into()),
        operator: None,
        internal_url: Some("http://y/events".into()),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn find<'a>(status: &'a EventChannelStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|c| c.type_ == type_).unwrap()
}

#[test]
fn a_reconciliation_without_changes_keeps_the_status() {
    let first = status(&EventChannelStatus::default(), Some(1), &facts(), at(1));
    let second = status(&first, Some(1), &facts(), at(2));
    assert_eq!(first, second, "not even a time");
    assert_eq!(first.brokers.as_deref(), Some("2/3"));
    let types: Vec<_> = first.conditions.iter().map(|c| &*c.type_).collect();
    assert_eq!(types, ["Accepted", "StreamReady", "Available", "Exposed", "Ready", "AccessReady"]);
    assert!(first.conditions.iter().all(|c| c.observed_generation == Some(1)));
}

#[test]
fn what_the_autopilot_has_not_decided_again_stays() {
    let known = OptionalCondition::Known(ConditionState::met("ScaledUp", "3"));
    let scaled = Facts { autoscaled: known, chosen_replicas: Some(3), ..facts() };
    let first = status(&EventChannelStatus::default(), Some(1), &scaled, at(1));
    let chosen = |status: &EventChannelStatus| status.autoscaling.clone().unwrap();
    assert_eq!((chosen(&first).desired, &*chosen(&first).reason), (3, "ScaledUp"));
    let unchanged = Facts { autoscaled: OptionalCondition::Unchanged, ..scaled };
    let second = status(&first, Some(2), &unchanged, at(2));
    let condition = find(&second, "Autoscaled");
    assert_eq!((&*condition.reason, condition.observed_generation), ("ScaledUp", Some(2)));
    assert_eq!(chosen(&second), chosen(&first));
    let fixed = status(&second, Some(3), &facts(), at(3));
    assert_eq!(fixed.autoscaling, None);
    assert!(fixed.conditions.iter().all(|c| c.type_ != "Autoscaled"));
}

#[test]
fn the_transition_time_changes_only_with_the_status() {
    let first = status(&EventChannelStatus::default(), Some(1), &facts(), at(1));
    let reworded =
        Facts { available: ConditionState::met(reasons::SOME_BROKERS_READY, "1 of 3"), ..facts() };
    let second = status(&first, Some(2), &reworded, at(2));
    assert_eq!(find(&second, "Available").last_transition_time, Time(at(1)));
    assert_eq!(find(&second, "Available").reason, reasons::SOME_BROKERS_READY);
    let broken = Facts { available: ConditionState::failed(reasons::WAITING, "0 of 3"), ..facts() };
    let third = status(&second, Some(2), &broken, at(3));
    assert_eq!(find(&third, "Available").last_transition_time, Time(at(3)));
    assert_eq!(find(&third, "Ready").last_transition_time, Time(at(3)));
}

#[test]
fn ready_reports_the_first_condition_that_is_not_true() {
    let broken = Facts {
        stream_ready: ConditionState::failed(
            reasons::NATS_UNREACHABLE,
            "no connection to nats://a",
        ),
        available: ConditionState { status: None, ..ConditionState::failed(reasons::BLOCKED, "") },
        ..facts()
    };
    let status = status(&EventChannelStatus::default(), Some(1), &broken, at(1));
    let ready = find(&status, "Ready");
    assert_eq!((&*ready.status, &*ready.reason), ("False", reasons::NATS_UNREACHABLE));
    assert_eq!(ready.message, "StreamReady: no connection to nats://a");
    let unknown = Facts { available: ConditionState::waiting_for("the spec"), ..facts() };
    let status = super::status(&EventChannelStatus::default(), Some(1), &unknown, at(1));
    assert_eq!(find(&status, "Ready").status, "Unknown");
}

#[test]
fn fields_without_a_fact_keep_their_value() {
    let first = status(&EventChannelStatus::default(), Some(1), &facts(), at(1));
    let invalid = Facts {
        accepted: ConditionState::failed(reasons::INVALID_SPEC, "no"),
        brokers: None,
        url: None,
        internal_url: None,
        ..facts()
    };
    let second = status(&first, Some(2), &invalid, at(2));
    assert_eq!(first.address.as_ref().unwrap().url, "http://y/events");
    assert_eq!(
        (second.url, second.address, second.brokers),
        (first.url, first.address, first.brokers)
    );
}

#[test]
fn a_paused_channel_keeps_its_status() {
    let first = status(&EventChannelStatus::default(), Some(1), &facts(), at(1));
    let second = paused(&first, at(2));
    assert_eq!(find(&second, "Ready"), find(&first, "Ready"));
    assert_eq!(paused(&second, at(3)), second);
    let resumed = status(&second, Some(1), &facts(), at(4));
    assert_eq!(resumed, first, "no trace of the pause");
}

#[test]
fn long_messages_are_truncated_between_characters() {
    let long = truncated(&"ä".repeat(5000));
    assert!(long.len() <= 4100 && long.ends_with('…'));
}

#[test]
fn problems_of_access_do_not_make_a_channel_unready_and_stay_until_a_broker_answers() {
    let bad = ConditionState::failed(reasons::KEYS_INVALID, "issuer a: no key");
    let broken = Facts { access_ready: Some(bad), ..facts() };
    let first = status(&EventChannelStatus::default(), Some(1), &broken, at(1));
    assert_eq!(find(&first, "Ready").status, "True");
    assert_eq!(find(&first, "AccessReady").status, "False");
    let silent = Facts { access_ready: None, ..facts() };
    assert_eq!(status(&first, Some(1), &silent, at(2)), first, "after a restart of the operator");
    let new = status(&EventChannelStatus::default(), Some(1), &silent, at(1));
    assert_eq!(find(&new, "AccessReady").status, "Unknown");
    // A channel that needed no keys says nothing about one that does.
    let open = ConditionState::met(reasons::NOTHING_TO_VERIFY, "");
    let open = status(&new, Some(1), &Facts { access_ready: Some(open), ..facts() }, at(2));
    assert_eq!(find(&status(&open, Some(2), &silent, at(3)), "AccessReady").status, "Unknown");
}

#[test]
fn a_channel_is_stalled_while_only_a_person_can_help() {
    let with = |stream_ready| Facts { stream_ready, ..facts() };
    let stalled = |status: &EventChannelStatus| {
        status.conditions.iter().find(|c| c.type_ == "Stalled").cloned()
    };
    for reason in reasons::STALLED {
        let failed = ConditionState::failed(reason, "look at it");
        let is_of_stream = conditions::is_known(conditions::STREAM_READY, reason);
        let broken =
            if is_of_stream { with(failed) } else { Facts { accepted: failed, ..facts() } };
        let first = status(&EventChannelStatus::default(), Some(1), &broken, at(1));
        let found = stalled(&first).expect(reason);
        assert_eq!((&*found.status, &*found.reason), ("True", reason));
        let condition = if is_of_stream { "StreamReady" } else { "Accepted" };
        assert_eq!(found.message, format!("{condition}: look at it"));
        let repaired = status(&first, Some(2), &facts(), at(2));
        assert_eq!(stalled(&repaired), None, "absent when fine");
    }
    for reason in [reasons::NATS_UNREACHABLE, reasons::QUOTA_EXCEEDED, reasons::NATS_REFUSED] {
        let waiting = with(ConditionState::transient(reason, ""));
        let first = status(&EventChannelStatus::default(), Some(1), &waiting, at(1));
        assert_eq!(stalled(&first), None, "{reason}");
    }
    let met = with(ConditionState::met(reasons::NATS_TOO_OLD, ""));
    assert_eq!(stalled(&status(&EventChannelStatus::default(), Some(1), &met, at(1))), None);
}
