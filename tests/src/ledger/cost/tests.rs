//! The cost of a disturbance is measured from what subscribers recorded.

use super::*;
use crate::{
    filter::Filter,
    ledger::{PublishOutcome, Start},
};

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn disturbance(name: &str, began: u64) -> Disturbance {
    Disturbance { name: name.into(), began: at(began) }
}

fn observed(topics: &[&str], contact: &[Contact]) -> Observed {
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let filter = Filter { topics, ..Filter::default() };
    let (seen, contact) = (vec![], contact.to_vec());
    Observed { name: "s".into(), filter, start: Start::Latest, seen, contact }
}

fn published(number: u64, began: u64) -> Published {
    let outcome = PublishOutcome::Stored(format!("e-{number}-abc"));
    Published { number, topic: None, kind: None, began: at(began), log: 0, outcome }
}

/// The costs of a roll at 1 s and a kill at 10 s.
fn costs_of(subscribers: &[Observed], verdicts: &[Verdict]) -> [Cost; 2] {
    let disturbances = [disturbance("roll", 1000), disturbance("kill", 10_000)];
    let events = [published(0, 500), published(1, 1000), published(2, 2000), published(3, 12_000)];
    costs(&disturbances, &events, subscribers, verdicts).try_into().unwrap()
}

#[test]
fn a_silence_lasts_from_the_end_of_a_stream_to_the_first_event_of_the_next() {
    use Contact::{Event, Lost, Served, Stopped};
    let quick = [Served(at(0)), Event(at(500)), Lost(at(2000)), Served(at(3100))];
    // attempts that fail, and a head without an event, end no silence
    let slow = [
        Served(at(0)),
        Lost(at(2000)),
        Lost(at(3000)),
        Lost(at(4000)),
        Served(at(4600)),
        Event(at(4700)),
    ];
    let killed =
        [Served(at(0)), Lost(at(11_000)), Served(at(11_300)), Lost(at(12_000)), Served(at(12_900))];
    let subscribers = [&quick[..], &slow[..], &killed[..]].map(|contact| observed(&["a"], contact));
    let [roll, kill] = costs_of(&subscribers, &[(); 3].map(|()| Verdict::default()));
    assert_eq!((roll.subscribers, roll.events, roll.reconnects), (3, 2, 2));
    assert_eq!((roll.silence, kill.silence), (at(2600), at(900)));
    assert_eq!((kill.events, kill.reconnects), (1, 2));
    // nothing before the first disturbance counts, nor waiting for a first stream; who is never served again is silent to the end
    let early = [Served(at(0)), Lost(at(100)), Served(at(900)), Stopped(at(20_000))];
    let late =
        [Lost(at(1500)), Served(at(9000)), Lost(at(11_000)), Lost(at(12_000)), Stopped(at(20_000))];
    let subscribers = [&early[..], &late[..]].map(|contact| observed(&[], contact));
    let [roll, kill] = costs_of(&subscribers, &[(); 2].map(|()| Verdict::default()));
    assert_eq!((roll.silence, roll.reconnects), (at(0), 0));
    assert_eq!((kill.silence, kill.reconnects), (at(9000), 0));
}

#[test]
fn a_pause_lies_between_two_events_of_a_subscriber_without_a_filter() {
    use Contact::{Event, Lost, Served};
    let contact = [
        Served(at(0)),
        Event(at(100)),
        Event(at(900)),
        Lost(at(1100)),
        Served(at(1900)),
        Event(at(2000)),
        Event(at(2200)),
        Event(at(10_400)),
        Event(at(10_500)),
    ];
    let verdicts = [Verdict::default()];
    let [roll, kill] = costs_of(&[observed(&[], &contact)], &verdicts);
    assert_eq!((roll.pause, kill.pause), (at(1100), at(8200)));
    let [roll, kill] = costs_of(&[observed(&["a"], &contact)], &verdicts);
    assert_eq!((roll.pause, kill.pause), (at(0), at(0)));
}

#[test]
fn what_is_missing_belongs_to_the_time_of_its_publishing() {
    let offences = vec![
        Offence::Missing { number: 0, sequence: 1 },
        Offence::Missing { number: 2, sequence: 3 },
        Offence::Repeated { number: 3, sequence: 4 },
        Offence::Repeated { number: 1, sequence: 2 },
        Offence::Repeated { number: 3, sequence: 4 },
    ];
    let verdict = Verdict { offences, declared_lost: vec![1, 3], ..Verdict::default() };
    let [roll, kill] = costs_of(&[observed(&[], &[])], &[verdict]);
    assert_eq!((roll.lost, roll.declared, roll.repeated), (1, 1, 1));
    assert_eq!((kill.lost, kill.declared, kill.repeated), (0, 1, 2));
    assert_eq!(kill.to_string(), "| kill | 1 | 1 | 0 | 0.00 s | 0.00 s | 0 | 1 | 2 |");
}
