//! The whole ledger against a small broker in memory that can be told to misbehave. The ledger must find every fault, and must
//! report none if there is none. Only this test uses a fake broker; the other suites use the real one.

mod fake;

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use eventcast_tests::{
    issuer::Issuer,
    ledger::{Ledger, LedgerReport, Offence, Plan},
};
use futures_util::future::try_join_all;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use self::fake::{Fake, Wrong, serve};

async fn run(wrong: Wrong) -> Result<LedgerReport> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/events", listener.local_addr()?);
    let fake = Fake::new(wrong);
    let accept = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(fake.clone(), stream));
        }
    });
    // Enough grants that end: a client shows some wrongs only sometimes.
    let (subscribers, granted, events) = match wrong {
        Wrong::Nothing => (20, 0.5, 150),
        wrong if wrong.is_about_grants() => (40, 1.0, 800),
        _ => (20, 0.0, 150),
    };
    let plan = Plan {
        publishers: 4,
        publish_every: Duration::from_millis(20),
        subscribers,
        stay: Duration::from_millis(500),
        arrive: Duration::from_millis(300),
        http2: 0.0,
        issuer: wrong.is_about_grants().then(|| Issuer::new().map(Arc::new)).transpose()?,
        granted,
        ..Plan::default()
    };
    let ledger = Ledger::start(plan, vec![url.clone(), url]);
    ledger.progress(events, Duration::from_secs(40)).await?;
    let report = ledger.finish(Duration::from_secs(10)).await;
    accept.abort();
    report
}

#[tokio::test]
async fn a_broker_that_does_nothing_wrong_is_clean() -> Result<()> {
    let report = run(Wrong::Nothing).await?;
    report.assert_nothing_lost();
    assert!(report.verdicts.iter().map(|v| v.connections).sum::<usize>() > 40, "{report}");
    assert!(report.verdicts.iter().map(|v| v.delivered).sum::<usize>() > 500, "{report}");
    let (renewed, expired): (Vec<_>, Vec<_>) =
        report.verdicts.iter().map(|v| (v.renewed, v.expired)).unzip();
    assert!(renewed.iter().sum::<usize>() > 0 && expired.iter().sum::<usize>() > 0, "{report}");
    Ok(())
}

#[tokio::test]
async fn every_wrong_is_found_and_named() -> Result<()> {
    let is = |wrong: Wrong, offence: &Offence| match wrong {
        Wrong::Nothing => false,
        Wrong::Lose => matches!(offence, Offence::Missing { sequence: 21, .. }),
        Wrong::Repeat => matches!(offence, Offence::Repeated { sequence: 21, .. }),
        Wrong::Swap => matches!(offence, Offence::Repeated { .. } | Offence::OutOfOrder { .. }),
        Wrong::IgnoreFilters => matches!(offence, Offence::Unexpected { .. }),
        Wrong::Forge => matches!(offence, Offence::Unexpected { number: 99999, .. }),
        Wrong::TellNoCursor => matches!(offence, Offence::Violation(_)),
        Wrong::IgnoreStarts | Wrong::LoseAtExpiry => matches!(offence, Offence::Missing { .. }),
        Wrong::IgnoreGrants => matches!(offence, Offence::NotGranted { .. }),
        Wrong::AcceptEndedTokens => {
            matches!(offence, Offence::Violation(text) if text.contains("had ended"))
        }
        Wrong::ExpireEarly => {
            matches!(offence, Offence::Violation(text) if text.contains("before the end"))
        }
    };
    let wrongs = [
        Wrong::Lose,
        Wrong::Repeat,
        Wrong::Swap,
        Wrong::IgnoreFilters,
        Wrong::Forge,
        Wrong::TellNoCursor,
        Wrong::IgnoreStarts,
        Wrong::IgnoreGrants,
        Wrong::AcceptEndedTokens,
        Wrong::ExpireEarly,
        Wrong::LoseAtExpiry,
    ];
    for (wrong, report) in wrongs.into_iter().zip(try_join_all(wrongs.map(run)).await?) {
        let found = report.verdicts.iter().flat_map(|verdict| &verdict.offences);
        assert!(found.clone().any(|offence| is(wrong, offence)), "{wrong:?} not found\n{report}");
    }
    Ok(())
}

/// Serves until it is dropped; then all connections are closed.
fn serve_on(fake: &Arc<Fake>, listener: &Arc<TcpListener>) -> JoinSet<()> {
    let (fake, listener) = (fake.clone(), listener.clone());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(fake.clone(), stream));
        }
    });
    serving
}

/// How long the broker is away.
const OUTAGE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn an_outage_is_as_long_in_the_report_as_it_was() -> Result<()> {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await?);
    let (url, fake) =
        (format!("http://{}/events", listener.local_addr()?), Fake::new(Wrong::Nothing));
    let serving = serve_on(&fake, &listener);
    let plan = Plan {
        subscribers: 20,
        stay: Duration::from_secs(1 << 32), // nobody leaves
        cut_early: 0.0,
        arrive: Duration::from_millis(100),
        http2: 0.0,
        slow: 0.0,
        obeys_retry: true,
        ..Plan::default()
    };
    let ledger = Ledger::start(plan, vec![url]);
    ledger.progress(200, Duration::from_secs(40)).await?;
    ledger.disturb("nothing");
    ledger.progress(100, Duration::from_secs(40)).await?;
    ledger.disturb("outage");
    drop(serving);
    sleep(OUTAGE).await;
    let serving = serve_on(&fake, &listener);
    ledger.progress(100, Duration::from_secs(40)).await?;
    let report = ledger.finish(Duration::from_secs(10)).await?;
    drop(serving);
    report.assert_nothing_lost();
    let [nothing, outage] = &report.costs[..] else { panic!("{:?}", report.costs) };
    // This broker ends some streams without a reason; their clients are back soon, unless the outage begins meanwhile.
    assert!(nothing.pause < outage.pause, "{nothing}\n{outage}");
    assert!(outage.subscribers == 20 && outage.reconnects >= 10, "{outage}");
    // The clocks of test and subscribers start at different moments.
    let about = OUTAGE - Duration::from_millis(100)..OUTAGE + Duration::from_secs(15);
    assert!(about.contains(&outage.silence) && about.contains(&outage.pause), "{outage}");
    // Some of the hundred were published before it began or acknowledged after it had ended.
    assert!(nothing.events >= 90, "{nothing}");
    assert_eq!((outage.lost, outage.declared, outage.repeated), (0, 0, 0), "{outage}");
    Ok(())
}
