//! The condition `Available` of a channel that a pool serves. Pure.

use crate::{
    owner::{ChannelKey, OwnerKey},
    pool_views::PoolView,
    status::{Brokers, ConditionState, reasons},
};

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
        let message =
            format!("none {of_pool} can read the log of the channel: see the stream in NATS");
        ConditionState::failed(reasons::LOG_UNAVAILABLE, message)
    } else if live < serving {
        let message = format!("{live} {of_pool} can read the log of the channel");
        ConditionState::met(reasons::LOG_UNAVAILABLE, message)
    } else if newest < all {
        let message = format!("{serving} {of_pool} serve the channel, {newest} as it is now");
        ConditionState::met(reasons::SOME_BROKERS_READY, message)
    } else {
        ConditionState::met(reasons::BROKERS_READY, format!("{newest} {of_pool} serve the channel"))
    };
    (brokers, available)
}
