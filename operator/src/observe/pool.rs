//! The condition `Available` of a channel that a pool serves. Pure.

use crate::{
    owner::{ChannelKey, OwnerKey},
    pool_views::PoolView,
    status::{Brokers, ConditionState, reasons},
};

/// What keeps brokers from a stream that the operator reaches.
const CUT_OFF: &str = "see StreamReady; if it is true, a NetworkPolicy may keep brokers from NATS (kubectl get networkpolicies -A), or NATS refuses their credentials";

/// The numbers of brokers and the condition `Available`: what the ready brokers of the pool say about the channel.
#[must_use]
pub fn available(
    channel: &ChannelKey,
    generation: i64,
    pool: &OwnerKey,
    view: Option<&PoolView>,
) -> (Brokers, ConditionState) {
    let OwnerKey { namespace, name, .. } = pool;
    let Some(view) = view else {
        let message = format!("BrokerPool {namespace}/{name} does not exist");
        return (Brokers::default(), ConditionState::failed(reasons::POOL_MISSING, message));
    };
    let served = view.served(channel);
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let (all, serving) =
        (served.len(), served.iter().filter(|served| served.generation.is_some()).count());
    let brokers = Brokers {
        desired: number(all),
        // The brokers are those of the pool.
        replicas: 0,
        ready: number(serving),
        selector: view.selector.clone(),
        image: view.image.clone(),
    };
    let newest = served.iter().filter(|served| served.generation == Some(generation)).count();
    let live = served.iter().filter(|served| served.generation.is_some() && served.live).count();
    let problem = served.iter().find_map(|served| served.problem.as_deref());
    let of_pool = format!("of {all} ready brokers of BrokerPool {namespace}/{name}");
    let available = if let Some(problem) = problem {
        let state = |message| match serving {
            0 => ConditionState::failed(reasons::CONFIG_REJECTED, message),
            _ => ConditionState::met(reasons::CONFIG_REJECTED, message),
        };
        state(format!("brokers cannot use the configuration of the channel: {problem}"))
    } else if all == 0 {
        let message =
            format!("no broker of BrokerPool {namespace}/{name} is ready: see its status");
        ConditionState::failed(reasons::WAITING, message)
    } else if serving == 0 {
        ConditionState::failed(reasons::WAITING, format!("0 {of_pool} serve the channel yet"))
    } else if live == 0 {
        let message = format!("none {of_pool} can read the log of the channel: {CUT_OFF}");
        ConditionState::failed(reasons::LOG_UNAVAILABLE, message)
    } else if live < serving {
        let message = format!("only {live} {of_pool} can read the log of the channel: {CUT_OFF}");
        ConditionState::met(reasons::LOG_UNAVAILABLE, message)
    } else if newest < all {
        let message = format!("{serving} {of_pool} serve the channel, {newest} as it is now");
        ConditionState::met(reasons::SOME_BROKERS_READY, message)
    } else {
        ConditionState::met(reasons::BROKERS_READY, format!("{newest} {of_pool} serve the channel"))
    };
    (brokers, available)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use super::*;
    use crate::{owner::OwnerKind, pool_views::Served};

    #[test]
    fn brokers_without_the_log_are_reported_with_a_likely_cause() {
        let channel: ChannelKey = ("shop".into(), "orders".into());
        let pool =
            OwnerKey { kind: OwnerKind::Pool, namespace: "shop".into(), name: "shared".into() };
        let of = |live: [bool; 2]| {
            let served = |live| Served { generation: Some(1), live, problem: None };
            let broker = |live| Some(HashMap::from([(channel.clone(), served(live))]));
            let view = PoolView {
                exposure: Default::default(),
                public: None,
                drain: Duration::ZERO,
                image: String::new(),
                selector: String::new(),
                admitted: [channel.clone()].into(),
                refused: HashMap::new(),
                brokers: live.map(broker).into(),
            };
            available(&channel, 1, &pool, Some(&view)).1
        };
        for (live, begins) in [([false, false], "none of 2"), ([true, false], "only 1 of 2")] {
            let condition = of(live);
            assert_eq!(condition.reason, reasons::LOG_UNAVAILABLE);
            assert!(condition.message.starts_with(begins), "{}", condition.message);
            assert!(condition.message.contains("NetworkPolicy"), "{}", condition.message);
        }
        assert_eq!(of([true, true]).reason, reasons::BROKERS_READY);
    }
}
