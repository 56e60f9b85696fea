//! Rules about the life of a stream and its socket: R15, R16, R19, R23, R24. The slow readers of R19 are in `attacks_load` (A18,
//! A19), its vanished peers in `attacks_half_open` (A20).

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::Shutdown;
use eventcast_tests::{
    broker::open_channel,
    eventually,
    http::{Version, client},
    ports,
    process::{self, Process},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, Http2Connection, RawResponse},
};
use rustix::{
    net::{getpeername, getsockname, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);

/// R15: before a stream ends for good the client is told in band; the next response means stop. (Channels that end by
/// themselves, and their `204`, are not in this version; a channel is removed.)
#[tokio::test]
async fn r15_a_removed_channel_says_so_in_band_and_then_refuses_for_good() -> Result<()> {
    let mut broker = BrokerWithNats::start(|config| {
        config.channels.push(open_channel("default", "gone"));
    })
    .await?;
    let target = "/channels/default/gone/events";
    let mut streams = Vec::new();
    for version in HTTP_VERSIONS {
        streams.push(broker.request(version, "GET", target, &[]).await?);
    }
    let mut other = broker.open_stream(Version::Http1, "").await?;
    broker.reconfigure(|config| config.channels.truncate(1))?;
    for stream in &mut streams {
        assert_eq!(stream.read_closing().await?.0, "channel-removed");
    }
    broker.request(Version::Http1, "GET", target, &[]).await?.expect_problem(404).await?;
    broker.publish("still here").await?;
    other.next_block_with("data: still here").await?;
    Ok(())
}

/// R16, as far as one server can: after SIGTERM the listener answers until load balancers have noticed; no client that connects
/// meanwhile is cut off without a closing event. (The chart is responsible for the ingress.)
#[tokio::test]
async fn r16_a_restart_fails_readiness_first_and_rejects_no_new_client() -> Result<()> {
    let mut broker = BrokerWithNats::start(|config| {
        config.shutdown = Shutdown { delay_seconds: 2, drain_seconds: 1, grace_seconds: 8 };
    })
    .await?;
    let mut before = broker.open_stream(Version::Http1, "").await?;
    broker.terminate()?;
    eventually("not ready", WAIT_TIMEOUT, || async {
        let answer = client(Version::Http1).get(broker.admin_url("/readyz")).send().await?;
        ensure!(answer.status() == 503, "{}", answer.status());
        Ok(())
    })
    .await?;
    let mut meanwhile = Vec::new();
    for version in HTTP_VERSIONS {
        meanwhile.push(broker.open_stream(version, "").await?);
    }
    broker.publish("in the delay").await?;
    for stream in meanwhile.iter_mut().chain([&mut before]) {
        stream.next_block_with("data: in the delay").await?;
        assert_eq!(stream.read_closing().await?.0, "draining");
    }
    ensure!(broker.wait_exit(WAIT_TIMEOUT).await?.success(), "a clean end");
    Ok(())
}

/// R19: the sockets of the broker give up on peers that are gone, and the kernel holds little for those that do not read.
#[tokio::test]
async fn r19_accepted_sockets_have_deadlines_and_small_queues() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut idle = broker.open_stream(Version::Http1, "").await?;
    let port: u16 = broker.address().rsplit(':').next().context("a port")?.parse()?;
    let pid = i32::try_from(broker.pid()?)?;
    let process = pidfd_open(Pid::from_raw(pid).context("a pid")?, PidfdFlags::empty())?;
    let mut checked = 0;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let number: i32 = entry?.file_name().to_string_lossy().parse()?;
        let Ok(socket) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else {
            continue; // closed since
        };
        let local = getsockname(&socket).ok().and_then(|a| SocketAddr::try_from(a).ok());
        if local.is_none_or(|local| local.port() != port) || getpeername(&socket).is_err() {
            continue;
        }
        checked += 1;
        ensure!(sockopt::tcp_nodelay(&socket)?, "TCP_NODELAY");
        let gone = sockopt::tcp_user_timeout(&socket)?;
        ensure!((30_000..=60_000).contains(&gone), "TCP_USER_TIMEOUT of {gone} ms");
        ensure!(sockopt::socket_keepalive(&socket)?, "keepalive");
        ensure!(sockopt::tcp_keepidle(&socket)? <= Duration::from_secs(30), "keepalive: idle");
        ensure!(sockopt::tcp_keepintvl(&socket)? <= Duration::from_secs(10), "keepalive: interval");
        ensure!(sockopt::tcp_keepcnt(&socket)? <= 3, "keepalive: tries");
    }
    assert_eq!(checked, 1, "the one connection was found");
    broker.publish("still open").await?;
    idle.next_block_with("data: still open").await?;
    Ok(())
}

/// R23: one connection of HTTP/2 has room for 250 streams and more: 300 are all served, and so is a publish beside them.
#[tokio::test]
async fn r23_three_hundred_streams_share_one_connection() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let mut connection = Http2Connection::connect(broker.address()).await?;
    let mut streams = Vec::new();
    for _ in 0..300 {
        let mut stream = connection.request("GET", EVENTS, &[], b"").await?;
        stream.read_until(b":\n").await?;
        streams.push(stream);
    }
    ensure!(connection.max_streams() >= 250, "{} streams", connection.max_streams());
    assert_eq!(broker.metric("eventcast_connections", &[]).await?, 1.0);
    let answer = connection.request("POST", EVENTS, &[], b"for all").await?;
    assert_eq!(answer.head.status, 201);
    for stream in &mut streams {
        stream.next_block_with("data: for all\n").await?;
    }
    drop(streams);
    broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, |open| open == 0.0).await?;
    Ok(())
}

/// R24: no bearer token belongs in a URL: none is read there, and what somebody puts there is neither logged nor echoed.
/// (Tickets are not in this version.)
#[tokio::test]
async fn r24_a_token_in_a_url_is_refused_and_neither_logged_nor_echoed() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    // a second broker, which logs everything it can
    let folder = process::folder("eventcast-trace-")?;
    let ports = ports::reserve(2)?;
    let (listen, admin) = (format!("127.0.0.1:{}", ports[0]), format!("127.0.0.1:{}", ports[1]));
    let config = broker.config_file();
    let config = config.to_str().context("a path")?;
    let arguments =
        ["--log", "trace", "run", "--config", config, "--listen", &listen, "--admin", &admin];
    let tracing = Process::spawn("tracing", &executable(&broker)?, &arguments, folder.path())?;
    eventually("it is ready", WAIT_TIMEOUT, || async {
        let answer = client(Version::Http1).get(format!("http://{admin}/readyz")).send().await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        Ok(())
    })
    .await?;
    // A credential that does not hold is refused before anything else is said about the request.
    let names = ["access_token", "authorization", "ticket"];
    let secrets: Vec<_> = names.iter().map(|name| format!("{name}=s3cr3t")).collect();
    let query = format!("?{}", secrets.join("&"));
    let headers = [("Authorization", "Bearer s3cr3t")];
    for version in HTTP_VERSIONS {
        for (method, target, status) in [
            ("GET", format!("{EVENTS}{query}"), 401),
            ("GET", format!("{EVENTS}{query}&topic=a..b"), 401),
            ("GET", format!("{EVENTS}?token=s3cr3t"), 401),
            ("GET", format!("{EVENTS}?jwt=s3cr3t&topic=a&topik=s3cr3t"), 401),
            ("GET", format!("/channels/default/none/events{query}"), 404),
            ("DELETE", format!("{EVENTS}{query}"), 401),
            ("PATCH", format!("{EVENTS}{query}"), 401),
        ] {
            let mut response =
                RawResponse::request(version, &listen, method, &target, &headers, b"").await?;
            assert_eq!(response.head.status, status, "{method} {target}");
            let body = String::from_utf8(response.read_to_end().await?)?;
            ensure!(!body.contains("s3cr3t"), "echoed: {body}");
            ensure!(
                !format!("{:?}", response.head).contains("s3cr3t"),
                "echoed: {:?}",
                response.head
            );
        }
    }
    let metrics = client(Version::Http1).get(format!("http://{admin}/metrics")).send().await?;
    ensure!(!metrics.text().await?.contains("s3cr3t"), "in the metrics");
    let log = tracing.stderr();
    ensure!(log.contains("TRACE") || log.contains("DEBUG"), "it does not log everything");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("s3cr3t")).take(3).collect();
    ensure!(lines.is_empty(), "logged: {lines:?}");
    Ok(())
}

/// The executable of the broker that runs.
fn executable(broker: &BrokerWithNats) -> Result<std::path::PathBuf> {
    let link = format!("/proc/{}/exe", broker.pid()?);
    Path::new(&link).read_link().context("no executable")
}
