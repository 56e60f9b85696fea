//! What access control costs: deliveries to subscribers with grants, connections with tokens, tokens that are refused, and the list of
//! all subscribers.

mod refusals;

use std::{rc::Rc, sync::Arc};

use anyhow::Result;
use eventcast_tests::{access::SigningKey, issuer::Issuer};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::refusals::Refusals;
use super::{
    Bench,
    fan_out::{Plan, Subscription},
    newcomers::{self, LIVE_TARGET},
};
use crate::{
    load::Load,
    report::{Reading, Target, Unit},
    server::{Channel, text},
};

/// Tokens outlive a round.
const TOKEN_SECONDS: i64 = 3600;
/// The greatest page of the list.
const LISTED: usize = 1000;

pub(super) fn round(bench: &Bench) -> Result<Vec<Reading>> {
    let mut readings = grants(bench)?;
    readings.extend(connects(bench)?);
    readings.extend(refusals(bench)?);
    readings.extend(listing(bench)?);
    Ok(readings)
}

/// A delivery to who reads what a token grants, compared with who asks for the same without a token.
fn grants(bench: &Bench) -> Result<Vec<Reading>> {
    let (subscribers, groups) = bench.options.size((200, 50), (5_000, 150));
    let issuer = Issuer::new()?;
    let everything = json!({"grants": {"subscribe": [">"]}});
    let pairs = [
        ("user", json!({}), Subscription::User),
        ("everything", everything, Subscription::Everything),
    ];
    let mut readings = Vec::new();
    for (granted, claims, same) in pairs {
        let run = |subscription| {
            let plan = Plan { subscription, ..Plan::new(subscribers, groups) };
            plan.run(bench, &bench.broker_with_issuer(&issuer)?)
        };
        let tokens = Subscription::Token(tokens(&issuer, subscribers, &claims));
        let (without, with) = (run(same)?, run(tokens)?);
        let case = format!("grants {subscribers}, {granted}");
        readings.push(
            Reading::new(&case, "CPU per delivery", Unit::Seconds, with.cpu)
                .to("the same without", without.cpu)
                .target(Target::RatioAtMost(1.02)),
        );
        readings.push(
            Reading::new(&case, "memory per connection, idle", Unit::Bytes, with.memory)
                .to("the same without", without.memory),
        );
    }
    Ok(readings)
}

/// Everyone connects, each with a token of its own.
fn connects(bench: &Bench) -> Result<Vec<Reading>> {
    let clients = bench.options.size(500, 10_000);
    let mut readings = Vec::new();
    for key in [SigningKey::rs256("1"), SigningKey::es256("1")] {
        let algorithm = key.algorithm();
        let issuer = Issuer::with_key(key)?;
        let tokens = tokens(&issuer, clients, &json!({}));
        let run = |with: bool| {
            let server = Arc::new(bench.broker_with_issuer(&issuer)?);
            let request = server.subscribe(Channel::Main, "topic=user.x", None);
            let any = server.subscribe(Channel::Main, "", None);
            let requests = tokens.iter().map(|token| match with {
                true => text::authorized(&any, token),
                false => request.clone(),
            });
            newcomers::connect(bench, &server, false, requests)
        };
        let (without, with) = (run(false)?, run(true)?);
        let case = format!("{clients} connects, {algorithm}");
        let seconds = |figure: &str, value| Reading::new(&case, figure, Unit::Seconds, value);
        readings.push(seconds("CPU per connect and stream", with.cpu).to("without", without.cpu));
        let live = seconds("live p99 meanwhile", with.live).to("before", with.live_before);
        readings.push(live.target(LIVE_TARGET));
    }
    Ok(readings)
}

/// Forged tokens come by the thousand from many addresses.
fn refusals(bench: &Bench) -> Result<Vec<Reading>> {
    let (per_second, seconds) = bench.options.size((500, 1), (5_000, 8));
    let issuer = Issuer::with_key(SigningKey::rs256("1"))?;
    let server = Arc::new(bench.broker_with_issuer(&issuer)?);
    let good = issuer.token("forged", TOKEN_SECONDS, json!({}));
    let (cpu, [before, live]) = newcomers::while_live(bench, &server, false, || {
        let cpu = server.cpu()?;
        let refused = Refusals { server: &server, token: &good, per_second, seconds }.run()?;
        Ok((server.cpu()? - cpu) / f64::from(refused))
    })?;
    let case = format!("{per_second} bad tokens per second");
    let seconds = |figure: &str, value| Reading::new(&case, figure, Unit::Seconds, value);
    Ok(vec![
        seconds("live p99 meanwhile", live).to("before", before).target(LIVE_TARGET),
        seconds("CPU per refusal, with the live readers", cpu),
    ])
}

/// All subscribers are listed again and again.
fn listing(bench: &Bench) -> Result<Vec<Reading>> {
    let (subscribers, times) = bench.options.size((500, 2), (10_000, 20));
    let issuer = Issuer::new()?;
    let server = Arc::new(bench.broker_with_issuer(&issuer)?);
    let mut load = Load::new(server.address(), 100)?;
    let request = server.subscribe(Channel::Main, "topic=none", None);
    load.subscribe((0..subscribers).map(|_| request.clone()))?;
    load.publishers(1)?;
    let target = format!("/channels/default/demo/subscribers?limit={LISTED}");
    let list = text::authorized(&text::get(&target, None), &issuer.admin());
    let (took, [before, live]) = newcomers::while_live(bench, &server, false, || {
        let begin = Instant::now();
        for _ in 0..times {
            load.send_and_wait(&list, 1)?;
        }
        let answer: Value = serde_json::from_str(&load.publishers[0].body)?;
        let listed = answer["subscribers"].as_array().map_or(0, Vec::len);
        let total = answer["total"].as_u64().unwrap_or(0);
        anyhow::ensure!(
            total >= subscribers as u64 && listed == subscribers.min(LISTED),
            "{listed} of {total} listed"
        );
        Ok(begin.elapsed().as_secs_f64() / f64::from(times))
    })?;
    let case = format!("list of {subscribers} subscribers");
    let seconds = |figure: &str, value| Reading::new(&case, figure, Unit::Seconds, value);
    Ok(vec![
        seconds("live p99 meanwhile", live).to("before", before).target(LIVE_TARGET),
        seconds("time of an answer", took),
    ])
}

/// A token each for so many users.
fn tokens(issuer: &Issuer, count: u32, claims: &Value) -> Rc<[String]> {
    (0..count)
        .map(|index| issuer.token(&index.to_string(), TOKEN_SECONDS, claims.clone()))
        .collect()
}
