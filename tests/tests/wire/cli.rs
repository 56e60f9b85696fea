//! `eventcast` against a broker, as its users call it: what it prints, its exit codes, and what it does when a stream ends.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::Access;
use eventcast_tests::{
    broker::{Cli, Ended, open_channel},
    eventually,
    http::{Publish, Version, client},
    issuer::Issuer,
    process,
    wire::BrokerWithNats,
};
use serde_json::Value;

const WAIT: Duration = Duration::from_secs(30);
/// More than a page of history, and more than a batch.
const MANY: usize = 1200;

/// The client against `broker`, whatever the environment says.
fn cli(broker: &BrokerWithNats, arguments: &[&str]) -> Cli {
    Cli::eventcast(arguments).without("EVENTCAST_TOKEN").env("EVENTCAST_URL", broker.url(""))
}

async fn run(broker: &BrokerWithNats, arguments: &[&str]) -> Result<Ended> {
    cli(broker, arguments).output(WAIT).await
}

/// Runs a command that must succeed, and returns its output.
async fn succeed(broker: &BrokerWithNats, arguments: &[&str]) -> Result<String> {
    let ended = run(broker, arguments).await?;
    ensure!(ended.status.success(), "{arguments:?}: {} {}", ended.status, ended.stderr);
    Ok(ended.stdout)
}

fn json_lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

fn texts(events: &[Value], field: &str) -> Vec<String> {
    events.iter().map(|event| event[field].as_str().unwrap_or("-").to_owned()).collect()
}

#[tokio::test]
async fn an_event_is_published_and_found_by_every_command() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let publish = ["pub", "default/demo", "--topic", "user.42", "--type", "order.paid"];
    let one = [&publish[..], &["--source", "/shop", "--key", "k", "-d", "{\"order\":7}"]].concat();
    let cursor = succeed(&broker, &one).await?;
    let again = succeed(&broker, &one).await?;
    ensure!(again == format!("{}  duplicate\n", cursor.trim()), "{cursor} {again}");
    let folder = process::folder("eventcast-cli-")?;
    let file = folder.path().join("data").display().to_string();
    fs::write(&file, "two\nlines\u{1b}[31m")?;
    succeed(&broker, &["pub", "default/demo", "-f", &file]).await?;

    let read = ["sub", "default/demo", "--from", "earliest", "--count", "2"];
    let table = succeed(&broker, &read).await?;
    let lines: Vec<_> = table.lines().collect();
    ensure!(lines.len() == 2 && lines[0].ends_with("  order.paid  {\"order\":7}"), "{table}");
    ensure!(lines[1].ends_with("  message  two\\nlines\\u{1b}[31m"), "{table}");
    let events = json_lines(&succeed(&broker, &[&read[..], &["-o", "jsonl"]].concat()).await?)?;
    ensure!(texts(&events, "data") == ["{\"order\":7}", "two\nlines\u{1b}[31m"], "{events:?}");
    ensure!(events[0]["cursor"] == cursor.trim(), "{events:?} {cursor}");

    let history = succeed(&broker, &["history", "demo", "--order", "desc"]).await?;
    let rows: Vec<_> = history.lines().collect();
    ensure!(rows.len() == 3 && rows[0].starts_with("CURSOR "), "{history}");
    ensure!(rows[2].starts_with(cursor.trim()), "{history}");
    let paid =
        succeed(&broker, &["history", "demo", "--type", "order.*", "--no-broadcast"]).await?;
    ensure!(paid.lines().count() == 2 && paid.contains("user.42  /shop"), "{paid}");

    let stats = succeed(&broker, &["stats", "default/demo"]).await?;
    ensure!(stats.starts_with("events  2\n"), "{stats}");
    let stats: Value =
        serde_json::from_str(&succeed(&broker, &["stats", "demo", "-o", "json"]).await?)?;
    ensure!(stats["types"]["order.paid"] == 1 && stats["topics"][""] == 1, "{stats}");
    Ok(())
}

#[tokio::test]
async fn the_output_of_history_is_published_to_another_channel() -> Result<()> {
    let broker =
        BrokerWithNats::start(|config| config.channels.push(open_channel("shop", "copy"))).await?;
    let line =
        |n| format!("{{\"data\":\"event {n}\",\"topic\":\"user.{}\",\"type\":\"note\"}}\n", n % 7);
    let folder = process::folder("eventcast-cli-")?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    fs::write(file("in"), (0..MANY).map(line).collect::<String>())?;
    let cursors = succeed(&broker, &["pub", "demo", "--ndjson", "-f", &file("in")]).await?;
    ensure!(cursors.lines().collect::<BTreeSet<_>>().len() == MANY, "not as many cursors");

    let all = ["history", "demo", "--all", "-o", "jsonl"];
    let original = succeed(&broker, &all).await?;
    fs::write(file("history"), &original)?;
    let copy = ["pub", "shop/copy", "--ndjson", "-f", &file("history"), "--key", "copy"];
    let first = succeed(&broker, &copy).await?;
    let second = succeed(&broker, &copy).await?;
    ensure!(second == first.replace('\n', "  duplicate\n"), "a repeated copy is stored again");
    let copied = succeed(&broker, &["history", "shop/copy", "--all", "-o", "jsonl"]).await?;
    let (original, copied) = (json_lines(&original)?, json_lines(&copied)?);
    ensure!(original.len() == MANY && copied.len() == MANY, "{} {}", original.len(), copied.len());
    for field in ["data", "topic", "type", "source"] {
        ensure!(texts(&original, field) == texts(&copied, field), "{field} differs");
    }
    let ended = run(&broker, &["history", "demo", "--limit", "3"]).await?;
    ensure!(ended.stdout.lines().count() == 4 && ended.stderr.contains("--all"), "{ended:?}");

    // 501 is the first line of the second batch.
    fs::write(
        file("wrong"),
        (0..501).map(line).collect::<String>() + "{\"data\":1,\"tpic\":\"a\"}\n",
    )?;
    let wrong =
        run(&broker, &["pub", "demo", "--ndjson", "-f", &file("wrong"), "--key", "w"]).await?;
    ensure!(wrong.status.code() == Some(1), "{wrong:?}");
    ensure!(wrong.stdout.lines().count() == 500, "the first batch is stored");
    ensure!(
        wrong.stderr.contains("lines 501 to 502") && wrong.stderr.contains("line 502"),
        "{wrong:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_stream_goes_on_after_a_restart_of_the_broker() -> Result<()> {
    let mut broker = BrokerWithNats::start(|_| {}).await?;
    let folder = process::folder("eventcast-cli-")?;
    let read = ["sub", "demo", "--from", "earliest", "--count", "20", "-o", "jsonl"];
    let mut reader = cli(&broker, &read).spawn("sub", folder.path())?;
    for n in 0..10 {
        broker.publish(n.to_string()).await?;
    }
    let received = || std::future::ready((reader.stdout().lines().count() == 10).then_some(()));
    eventually("ten events are printed", WAIT, received).await?;
    broker.restart().await?;
    for n in 10..20 {
        broker.publish(n.to_string()).await?;
    }
    let status = reader.wait_exit(WAIT).await?;
    let events = json_lines(&reader.stdout())?;
    let wanted: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    ensure!(status.success() && texts(&events, "data") == wanted, "{status} {}", reader.stderr());
    ensure!(reader.stderr().contains("reconnecting in"), "{}", reader.stderr());
    Ok(())
}

#[tokio::test]
async fn until_end_stops_at_the_newest_event_that_passes() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let until_end = ["sub", "demo", "--until-end", "--topic", "a", "-o", "jsonl"];
    ensure!(succeed(&broker, &until_end).await?.is_empty(), "an empty channel has an end");
    for (n, topic) in ["a", "b", "a", "b"].into_iter().enumerate() {
        let event = Publish::new(n.to_string()).topic(topic);
        ensure!(broker.send(&event).await?.status == 201, "not stored");
    }
    let events = json_lines(&succeed(&broker, &until_end).await?)?;
    ensure!(texts(&events, "data") == ["0", "2"], "{events:?}");
    let last = succeed(&broker, &[&until_end[..], &["--from", "last:1"]].concat()).await?;
    ensure!(texts(&json_lines(&last)?, "data") == ["2"], "{last}");
    let nothing = succeed(&broker, &[&until_end[..], &["--from", "latest"]].concat()).await?;
    ensure!(nothing.is_empty(), "{nothing}");
    Ok(())
}

#[tokio::test]
async fn a_gap_is_reported_and_makes_the_result_incomplete() -> Result<()> {
    let broker = BrokerWithNats::start(|config| {
        config.channels[0].retention.max_events = 3;
    })
    .await?;
    let first = broker.publish("0").await?;
    for n in 1..10 {
        broker.publish(n.to_string()).await?;
    }
    eventually("retention has taken effect", WAIT, || async {
        let left = succeed(&broker, &["history", "demo"]).await?;
        ensure!(left.lines().count() == 4, "{left}");
        anyhow::Ok(())
    })
    .await?;
    let ended =
        run(&broker, &["sub", "demo", "--from", &first, "--until-end", "-o", "jsonl"]).await?;
    ensure!(texts(&json_lines(&ended.stdout)?, "data") == ["7", "8", "9"], "{ended:?}");
    ensure!(ended.stderr.contains("!! GAP (expired): 6 events"), "{ended:?}");
    ensure!(ended.stderr.contains("3 events received, 1 gap, 6 events lost"), "{ended:?}");
    ensure!(ended.status.code() == Some(1), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn refusals_say_what_to_do() -> Result<()> {
    let issuer = Issuer::new()?;
    let broker = BrokerWithNats::start(|config| {
        let tokens = vec![issuer.trusted()];
        config.channels[0].access = Access { tokens, ..Access::default() };
    })
    .await?;
    let read = ["history", "demo"];
    let refused = run(&broker, &read).await?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(
        refused.stderr.contains("(401)") && refused.stderr.contains("EVENTCAST_TOKEN"),
        "{refused:?}"
    );
    let wrong = cli(&broker, &read).env("EVENTCAST_TOKEN", "eyJ.x.y").output(WAIT).await?;
    ensure!(wrong.status.code() == Some(1) && wrong.stderr.contains(", check "), "{wrong:?}");
    let folder = process::folder("eventcast-cli-")?;
    let file = folder.path().join("token");
    fs::write(&file, format!("{}\n", issuer.user("ann")))?;
    let with_token = |arguments: &[&str]| cli(&broker, arguments).arg("--token-file").arg(&file);
    let good = with_token(&read).output(WAIT).await?;
    ensure!(good.status.success(), "{good:?}");

    let ticket = with_token(&["ticket", "demo"]).output(WAIT).await?;
    ensure!(ticket.status.success(), "{ticket:?}");
    let opened = client(Version::Http1).get(ticket.stdout.trim()).send().await?;
    ensure!(opened.status() == 200, "{} for {}", opened.status(), ticket.stdout);

    let judged = with_token(&["token", "check", "demo"]).output(WAIT).await?;
    ensure!(judged.status.success(), "{judged:?}");
    for wanted in ["subject    ann", "accepted by the channel", "subscribe  user.ann, broadcasts"] {
        ensure!(judged.stdout.contains(wanted), "no {wanted}: {judged:?}");
    }
    let expired = issuer.token("ann", -60, serde_json::json!({}));
    let check = ["token", "check", "demo"];
    let judged = cli(&broker, &check).env("EVENTCAST_TOKEN", expired).output(WAIT).await?;
    ensure!(judged.status.code() == Some(1) && judged.stdout.contains("EXPIRED"), "{judged:?}");
    ensure!(judged.stderr.contains("(401), check expired"), "{judged:?}");

    let unknown = with_token(&["history", "nobody/knows"]).output(WAIT).await?;
    ensure!(unknown.status.code() == Some(1) && unknown.stderr.contains("(404)"), "{unknown:?}");
    Ok(())
}

#[tokio::test]
async fn exit_codes_tell_usage_from_failure() -> Result<()> {
    let code = async |arguments: &[&str]| -> Result<Option<i32>> {
        let cli = Cli::eventcast(arguments).without("EVENTCAST_URL");
        let cli = cli.env("KUBECONFIG", "/nonexistent").env("HOME", "/nonexistent");
        Ok(cli.output(WAIT).await?.status.code())
    };
    let nobody = "http://127.0.0.1:1";
    for arguments in [
        &["sub", "demo"][..],
        &["sub", "--url", nobody],
        &["history", "demo", "--url", "127.0.0.1:1"],
        &["pub", "demo", "--url", nobody],
        &["pub", "demo", "--url", nobody, "-d", "x", "--key", "ä"],
        &["sub", "demo", "--url", nobody, "--topik", "a"],
        &[],
    ] {
        ensure!(code(arguments).await? == Some(64), "{arguments:?}");
    }
    ensure!(code(&["sub", "demo", "--url", nobody]).await? == Some(1), "nobody answers");
    ensure!(code(&["--help"]).await? == Some(0), "help is no failure");
    for (arguments, wanted) in [
        (&["completion", "bash"][..], "_eventcast"),
        (&["man"], ".TH eventcast"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let ended = Cli::eventcast(arguments).output(WAIT).await?;
        ensure!(ended.status.success() && ended.stdout.contains(wanted), "{arguments:?} {ended:?}");
    }
    Ok(())
}
