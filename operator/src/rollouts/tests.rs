//! A fleet of channels whose rollouts take some time, succeed or fail; and single answers of the gate.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SOAK: Duration = Duration::from_secs(120);
/// Interval between two answers of the gate.
const LOOK: u64 = 15;

fn settings(max: usize) -> RolloutSettings {
    RolloutSettings { max_rollouts: Some(max), soak: SOAK }
}

/// Whether the Deployment of a channel may be applied as it is wanted. A channel that the gate does not know is new.
fn may_apply(gate: &Gate, key: &OwnerKey) -> bool {
    match gate.states.get(key) {
        None | Some(RolloutState::UpToDate | RolloutState::RollingOut) => true,
        Some(RolloutState::Halted { by, .. }) => by == key, // it has the wanted template already
        Some(RolloutState::Queued | RolloutState::Held) => false,
    }
}

/// An outdated channel with two healthy brokers.
fn channel(index: usize, subscribers: u64) -> ChannelRollout {
    ChannelRollout {
        key: OwnerKey::channel(("shop".to_owned(), format!("channel-{index:03}"))),
        template: Template::Outdated,
        held: false,
        paused: false,
        wave: Wave::Between,
        subscribers,
        progress: done(1000),
    }
}

fn done(seconds: u64) -> Progress {
    let done_for = Some(Duration::from_secs(seconds));
    Progress { desired: 2, updated: 2, available: 2, failure: None, done_for }
}

fn rolling() -> Progress {
    Progress { updated: 1, done_for: None, ..done(0) }
}

fn failed(failure: Failure) -> Progress {
    Progress { failure: Some(failure), ..rolling() }
}

fn rolled_out(index: usize, progress: Progress) -> ChannelRollout {
    let template = Template::RolledOut { was_healthy: true };
    ChannelRollout { template, progress, ..channel(index, 10) }
}

fn begin(gate: &Gate) -> Vec<&str> {
    gate.begin.iter().map(|begin| &*begin.key.name).collect()
}

/// A channel whose brokers take their time.
#[derive(Clone, Debug)]
struct SimChannel {
    channel: ChannelRollout,
    /// Seconds that a rollout takes.
    duration: u64,
    fails: bool,
    began: Option<u64>,
}

impl SimChannel {
    /// The channel at `now`.
    fn at(&self, now: u64) -> ChannelRollout {
        let Some(began) = self.began else { return self.channel.clone() };
        let progress = match (now - began).checked_sub(self.duration) {
            None => rolling(),
            Some(_) if self.fails => failed(Failure::CrashLoop),
            Some(done_for) => done(done_for),
        };
        ChannelRollout { progress, ..self.channel.clone() }
    }

    fn roll_out(&mut self, now: u64, was_healthy: bool) {
        self.channel.template = Template::RolledOut { was_healthy };
        self.began = Some(now);
    }
}

fn fleet() -> impl Strategy<Value = Vec<SimChannel>> {
    let wave = prop_oneof![1 => Just(Wave::First), 8 => Just(Wave::Between), 2 => Just(Wave::Last)];
    let one = (0u64..20, wave, 0u8..20, 1u64..300);
    prop::collection::vec(one, 1..40).prop_map(|all| {
        let sim = |(index, (subscribers, wave, excluded, duration))| {
            let (held, paused) = (excluded == 0, excluded == 1);
            let channel = ChannelRollout { wave, held, paused, ..channel(index, subscribers) };
            SimChannel { channel, duration, fails: false, began: None }
        };
        all.into_iter().enumerate().map(sim).collect()
    })
}

/// Asks the gate and carries out what it says, except where `is_lost` says that the process ends before. Returns the answer.
fn look(
    fleet: &mut [SimChannel],
    now: u64,
    settings: &RolloutSettings,
    is_lost: bool,
) -> Result<Gate, TestCaseError> {
    let seen: Vec<_> = fleet.iter().map(|sim| sim.at(now)).collect();
    let gate = gate(settings, &seen);
    let under_way = seen.iter().filter(|c| c.is_rolling()).count();
    prop_assert!(
        gate.begin.is_empty() || under_way + gate.begin.len() <= settings.max_rollouts.unwrap()
    );
    let proved = |c: &ChannelRollout| c.has_proved(SOAK);
    for Begin { key, .. } in gate.begin.iter().take(if is_lost { 1 } else { usize::MAX }) {
        let sim = fleet.iter_mut().find(|sim| sim.channel.key == *key).unwrap();
        prop_assert_eq!(sim.channel.template, Template::Outdated);
        prop_assert!(!sim.channel.held && !sim.channel.paused, "held and paused ones stay");
        prop_assert!(may_apply(&gate, key));
        let firsts = seen.iter().filter(|c| c.wave == Wave::First && !c.held && !c.paused);
        if sim.channel.wave != Wave::First && sim.channel.progress.available > 0 {
            prop_assert!(
                firsts.clone().all(|c| proved(c) || c.failure().is_some()),
                "first ones first"
            );
            prop_assert!(
                seen.iter().any(proved) || gate.begin.len() == 1,
                "a canary before others"
            );
        }
        sim.roll_out(now, sim.channel.is_healthy());
    }
    Ok(gate)
}

fn is_finished(fleet: &[SimChannel], now: u64) -> bool {
    fleet
        .iter()
        .map(|sim| sim.at(now))
        .all(|c| c.is_excluded() || c.is_rolled_out() && c.is_complete())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn all_channels_get_their_turn_wherever_the_operator_restarts(
        fleet in fleet(), max in 1usize..6, lost in prop::collection::vec(any::<bool>(), 50),
    ) {
        let (mut fleet, settings) = (fleet, settings(max));
        let mut now = 0;
        while !is_finished(&fleet, now) {
            let is_lost = lost.get(usize::try_from(now / LOOK).unwrap()) == Some(&true);
            look(&mut fleet, now, &settings, is_lost)?;
            now += LOOK;
            prop_assert!(now < 40 * 400, "nobody waits for ever");
        }
        let gate = look(&mut fleet, now, &settings, false)?;
        let held = fleet.iter().filter(|sim| sim.channel.is_excluded()).count();
        let up_to_date = fleet.len() - held;
        prop_assert_eq!(gate.counts, Counts { up_to_date, held, ..Counts::default() });
    }

    #[test]
    fn no_channel_begins_after_a_failure_until_it_is_fixed(
        fleet in fleet(), max in 1usize..6, bad in any::<prop::sample::Index>(), goes_back: bool,
    ) {
        let (mut fleet, settings) = (fleet, settings(max));
        let bad = bad.index(fleet.len());
        fleet[bad].fails = true;
        let mut now = 0;
        while now < 40 * 400 {
            let gate = look(&mut fleet, now, &settings, false)?;
            let failed = fleet[bad].at(now).failure().is_some();
            if failed {
                prop_assert_eq!(&gate.begin, &[], "halted");
                for (key, state) in gate.states.iter().filter(|(key, _)| !may_apply(&gate, key)) {
                    let by = fleet[bad].channel.key.clone();
                    let halted = RolloutState::Halted { by, why: Failure::CrashLoop };
                    prop_assert!(*state == halted || *state == RolloutState::Held, "{key:?}: {state:?}");
                }
                break;
            }
            now += LOOK;
        }
        prop_assert!(fleet[bad].channel.is_excluded() || fleet[bad].began.is_some());
        if goes_back {
            // The wanted template is the old one again: where nothing has begun, nothing differs any more.
            fleet.retain(|sim| sim.channel.is_rolled_out());
            for sim in &mut fleet {
                sim.channel = ChannelRollout { template: Template::Outdated, ..sim.at(now) };
                sim.began = None;
            }
        }
        for sim in &mut fleet {
            sim.fails = false;
        }
        let end = now + 40 * 400;
        while now < end && !is_finished(&fleet, now) {
            look(&mut fleet, now, &settings, false)?;
            now += LOOK;
        }
        prop_assert!(is_finished(&fleet, now), "the halt has ended");
    }
}

#[test]
fn the_canary_has_the_fewest_clients_but_some() {
    let all = [channel(0, 0), channel(1, 7), channel(2, 3), channel(3, 3)];
    let answer = gate(&settings(3), &all);
    assert_eq!(begin(&answer), ["channel-002"]);
    assert_eq!(answer.counts, Counts { rolling_out: 1, queued: 3, ..Counts::default() });
    assert_eq!(begin(&gate(&settings(3), &[channel(0, 0), channel(1, 0)])), ["channel-000"]);
    let first = ChannelRollout { wave: Wave::First, ..channel(1, 7) };
    assert_eq!(begin(&gate(&settings(3), &[channel(0, 3), first])), ["channel-001"]);
}

#[test]
fn others_follow_when_the_canary_has_been_well_for_the_soak_time() {
    for (progress, expected) in [
        (rolling(), &[][..]),
        (done(119), &[]),
        (done(120), &["channel-002", "channel-001"]),
        (Progress { available: 1, done_for: None, ..done(0) }, &[]),
    ] {
        let last = ChannelRollout { wave: Wave::Last, ..channel(3, 0) };
        let all = [rolled_out(0, progress), channel(1, 7), channel(2, 3), last];
        assert_eq!(begin(&gate(&settings(2), &all)), expected);
    }
}

#[test]
fn held_and_paused_channels_take_no_place_and_halt_nobody() {
    let held = ChannelRollout { held: true, ..rolled_out(1, rolling()) };
    let paused = ChannelRollout { paused: true, ..rolled_out(2, failed(Failure::ImagePull)) };
    let all = [rolled_out(0, done(500)), held, paused, channel(3, 1), channel(4, 2)];
    assert_eq!(begin(&gate(&settings(1), &all)), ["channel-003"]);
}

#[test]
fn a_persons_change_never_waits() {
    let mut changed = ChannelRollout { template: Template::ChangedByPerson, ..channel(1, 5) };
    let all = |changed: &ChannelRollout| {
        [rolled_out(0, failed(Failure::DeadlineExceeded)), changed.clone(), channel(2, 5)]
    };
    let answer = gate(&settings(1), &all(&changed));
    assert_eq!(answer.states[&changed.key], RolloutState::RollingOut);
    assert!(may_apply(&answer, &changed.key) && !may_apply(&answer, &channel(2, 5).key));
    assert_eq!(answer.begin, []);
    changed.held = true; // the operator's changes are held, not those of people
    assert!(may_apply(&gate(&settings(1), &all(&changed)), &changed.key));
    changed.paused = true;
    assert!(!may_apply(&gate(&settings(1), &all(&changed)), &changed.key));
}

/// A rollout by a person takes no place, and a failure that was there before halts no other channel.
#[test]
fn a_failure_from_before_the_rollout_halts_no_channel() {
    let broken =
        ChannelRollout { template: Template::Wanted, ..rolled_out(1, failed(Failure::ImagePull)) };
    let template = Template::RolledOut { was_healthy: false };
    let before = ChannelRollout { template, ..rolled_out(2, failed(Failure::CrashLoop)) };
    let all = [rolled_out(0, done(500)), broken, before, channel(3, 1)];
    let answer = gate(&settings(1), &all);
    assert_eq!(begin(&answer), ["channel-003"]);
    assert_eq!(answer.states[&all[1].key], RolloutState::RollingOut);
}

#[test]
fn channels_that_are_down_do_not_wait_for_a_canary() {
    let down = Progress { available: 0, ..failed(Failure::CrashLoop) };
    let down = ChannelRollout { progress: down, ..channel(0, 0) };
    let ill = ChannelRollout { progress: failed(Failure::CrashLoop), ..channel(1, 1) };
    let all = [down, ill, channel(2, 9), channel(3, 8)];
    let answer = gate(&settings(5), &all);
    assert_eq!(begin(&answer), ["channel-000", "channel-003"]);
    assert_eq!(answer.begin.iter().map(|b| b.is_healthy).collect::<Vec<_>>(), [false, true]);
    let open: Vec<_> = all.into_iter().chain([rolled_out(4, done(500))]).collect();
    let expected = ["channel-000", "channel-003", "channel-002", "channel-001"];
    assert_eq!(begin(&gate(&settings(5), &open)), expected, "what runs in part goes last");
}

#[test]
fn the_limit_grows_with_the_fleet() {
    for (channels, expected) in [(10, 3), (199, 3), (200, 4), (1000, 20)] {
        let mut all: Vec<_> = (0..channels).map(|index| channel(index, 1)).collect();
        all[0] = rolled_out(0, done(500));
        let settings = RolloutSettings { max_rollouts: None, soak: SOAK };
        assert_eq!(gate(&settings, &all).begin.len(), expected);
    }
    let all = [rolled_out(0, done(500)), channel(1, 1)];
    let none = gate(&settings(0), &all);
    assert_eq!((none.begin.len(), none.counts.queued), (0, 1), "0 stops all rollouts");
}

#[test]
fn states_say_what_to_do() {
    let all = [rolled_out(0, failed(Failure::ImagePull)), channel(1, 1)];
    let answer = gate(&settings(1), &all);
    let text = |channel: &ChannelRollout| answer.states[&channel.key].message(&channel.key);
    assert!(text(&all[0]).contains("the image of its new brokers cannot be pulled"));
    assert!(text(&all[1]).contains("EventChannel shop/channel-000"));
    assert_eq!(answer.states[&all[1].key].reason(), "Halted");
}
