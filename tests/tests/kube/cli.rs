//! `eventcast` against an API server: the way to a channel by its name, `status` and `check`.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    broker::{Broker, Cli, Ended, open_channel},
    eventually, init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::{self, TestNamespace, install_crd},
    nats::NatsServer,
    pods, process,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const WAIT: Duration = Duration::from_secs(60);

async fn run(kubeconfig: &Path, arguments: &[&str]) -> Result<Ended> {
    let cli = Cli::eventcast(arguments).without("EVENTCAST_URL").without("EVENTCAST_TOKEN");
    cli.env("KUBECONFIG", kubeconfig).output(WAIT).await
}

#[tokio::test]
async fn a_channel_is_reached_by_its_name_through_the_url_of_its_status() -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let client = cluster.client().await?;
    let namespace = temp_namespace(&client).await?;
    namespace::apply(&client, &namespace, "orders", json!({})).await?;
    let config = cluster.admin_kubeconfig();
    let name = format!("{namespace}/orders");

    let missing = run(&config, &["history", &format!("{namespace}/others")]).await?;
    ensure!(missing.status.code() == Some(1), "{missing:?}");
    ensure!(missing.stderr.contains("the cluster has no channel"), "{missing:?}");
    let early = run(&config, &["history", &name]).await?;
    ensure!(early.status.code() == Some(1), "{early:?}");
    ensure!(early.stderr.contains("no URL yet, and none of its 0 brokers is ready"), "{early:?}");

    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.channels = vec![open_channel(&namespace, "orders")];
    })
    .await?;
    let api: Api<EventChannel> = Api::namespaced(client, &namespace);
    let url = broker.url(&format!("/channels/{namespace}/orders/events"));
    let status = Patch::Merge(json!({"status": {"url": url}}));
    api.patch_status("orders", &PatchParams::default(), &status).await?;
    let published = run(&config, &["pub", "orders", "-n", &namespace, "-d", "hello"]).await?;
    ensure!(published.status.success(), "{published:?}");
    let history = run(&config, &["history", &name, "-o", "jsonl"]).await?;
    let event: Value = serde_json::from_str(&history.stdout).context(history.stderr)?;
    ensure!(event["data"] == "hello", "{event}");
    let nowhere = run(Path::new("/nonexistent"), &["history", &name]).await?;
    ensure!(nowhere.status.code() == Some(64), "{nowhere:?}");
    Ok(())
}

/// A proxy as companies have it: tells of the hosts that clients ask for, and connects them.
async fn proxy() -> Result<(u16, mpsc::Receiver<String>)> {
    let (tell, told) = mpsc::channel(64);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let serve = async move |mut client: TcpStream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8(head)?;
        let host = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        let host = host.context(head.clone())?;
        let mut server = TcpStream::connect(host).await?;
        tell.send(host.to_owned()).await?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        copy_bidirectional(&mut client, &mut server).await?;
        anyhow::Ok(())
    };
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            if let Err(error) = serve(client).await {
                tracing::info!("a connection ended: {error:#}");
            }
        }
    });
    Ok((port, told))
}

#[tokio::test]
async fn the_cluster_is_found_as_kubectl_finds_it() -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let config = cluster.admin_kubeconfig();
    let (port, mut asked) = proxy().await?;
    let open = format!("http://127.0.0.1:{port}");
    // files that do not exist are passed over
    let files = std::env::join_paths([Path::new("/nonexistent/config"), &config])?;
    let cases: [&[(&str, &str)]; 4] = [
        &[],
        &[("EVENTCAST_URL", ""), ("EVENTCAST_CA_FILE", ""), ("EVENTCAST_TOKEN_FILE", "")],
        &[("HTTPS_PROXY", &open)],
        &[("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "127.0.0.1,localhost")],
    ];
    for variables in cases {
        let arguments = ["-n", "default", "history", "none"];
        let mut cli = Cli::eventcast(&arguments).without("EVENTCAST_URL").env("KUBECONFIG", &files);
        for (name, value) in variables {
            cli = cli.env(name, value);
        }
        let answer = cli.output(WAIT).await?;
        ensure!(answer.status.code() == Some(1), "{variables:?}: {answer:?}");
        ensure!(answer.stderr.contains("the cluster has no channel"), "{variables:?}: {answer:?}");
        let proxied = asked.try_recv().is_ok();
        ensure!(
            proxied == variables.iter().any(|(_, value)| *value == open),
            "{variables:?}: {proxied}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_kubeconfig_is_said() -> Result<()> {
    let folder = process::folder("eventcast-kubeconfig-")?;
    let write = |name: &str, user: Value| -> Result<PathBuf> {
        let file = folder.path().join(name);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "a", "user": user}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        });
        fs::write(&file, config.to_string())?;
        Ok(file)
    };
    let exec = |command: &str| json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": command, "installHint": "Install it."}});
    let token = write("token", json!({"token": "x"}))?;
    for (file, arguments, code, said) in [
        (&token, &[][..], 1, "Connection refused"),
        (&token, &["--context", "b"], 64, "the kubeconfig has no context b"),
        (&write("fails", exec("false"))?, &[], 1, "for credentials, false, failed: exit status: 1"),
        (&write("missing", exec("no-such-command"))?, &[], 1, "no-such-command, cannot be run"),
        (&write("hint", exec("no-such-command"))?, &[], 1, "\n  Install it."),
        (&folder.path().join("none"), &[], 64, "there is no file"),
    ] {
        let answer = run(file, &[&["status", "default/none"], arguments].concat()).await?;
        ensure!(answer.status.code() == Some(code), "{said}: {answer:?}");
        ensure!(answer.stderr.contains(said), "{said}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn status_and_check_say_what_is_wrong_and_what_to_do() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    ns.apply("orders", json!({"access": {"apiKeys": {"secretName": "none"}}})).await?;
    ns.settled("orders").await?;
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    pods::create(&ns, "orders", "orders-broker-a", 9090, ready).await?;
    let waits = json!({"phase": "Pending", "containerStatuses": [{"name": "broker", "image": "", "imageID": "",
        "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
    pods::create(&ns, "orders", "orders-broker-b", 9090, waits).await?;

    let config = ns.cluster.admin_kubeconfig();
    let name = format!("{}/orders", ns.name);
    let status = run(&config, &["status", &name]).await?;
    ensure!(status.status.success(), "{status:?}");
    for wanted in [
        "StreamReady",
        "!!Available",
        "docs/TROUBLESHOOTING.md",
        "orders-broker-a",
        "does not forward to the pod",
        "ImagePullBackOff",
        "StreamCreated",
    ] {
        ensure!(status.stdout.contains(wanted), "no {wanted}: {}", status.stdout);
    }

    // The API server publishes the schemas of new definitions some seconds after it serves them.
    eventually("the definitions are published", WAIT, || async {
        let cluster = run(&config, &["check"]).await?;
        ensure!(cluster.status.success() && !cluster.stdout.contains("  warn  "), "{cluster:?}");
        anyhow::Ok(())
    })
    .await?;
    let check = run(&config, &["check", &name, "--wait", "1", "-o", "jsonl"]).await?;
    ensure!(check.status.code() == Some(1), "{check:?}");
    let findings: Vec<Value> =
        check.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for (level, wanted) in [
        ("ok", "Kubernetes v"),
        ("ok", "EventChannel is defined as by version"),
        ("ok", "BrokerPool is defined as by version"),
        ("ok", "you may read the channel and its brokers"),
        ("ok", "StreamReady (StreamReady)"),
        ("fail", "Available ("),
        ("warn", "broker orders-broker-b: ImagePullBackOff"),
    ] {
        let is_it = |f: &Value| {
            f["level"] == level && f["what"].as_str().is_some_and(|what| what.contains(wanted))
        };
        ensure!(findings.iter().any(is_it), "no {level} {wanted}: {}", check.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn check_before_an_installation_looks_at_rights() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let pre = run(&ns.cluster.admin_kubeconfig(), &["check", "--pre"]).await?;
    ensure!(pre.status.success(), "{pre:?}");
    ensure!(pre.stdout.contains("warn  EventChannels are defined already"), "{pre:?}");
    ensure!(pre.stdout.contains("ok    you may install the chart"), "{pre:?}");

    let account = ["create", "serviceaccount", "nobody", "--namespace", &ns.name];
    let created = ns.cluster.kubectl(&account, None).await?;
    ensure!(created.status.success(), "{created:?}");
    let token = ns.cluster.token(&ns.name, "nobody").await?;
    let nobody = ns.cluster.kubeconfig(&token)?;
    let pre = run(&nobody, &["check", "--pre"]).await?;
    ensure!(pre.status.code() == Some(1), "{pre:?}");
    ensure!(pre.stdout.contains("FAIL  you may not install the chart"), "{pre:?}");
    ensure!(pre.stdout.contains("create deployments.apps"), "{pre:?}");
    let denied = run(&nobody, &["status", &format!("{}/orders", ns.name)]).await?;
    ensure!(denied.status.code() == Some(1), "{denied:?}");
    ensure!(denied.stderr.contains("you may not read the channel"), "{denied:?}");
    Ok(())
}

#[tokio::test]
async fn a_report_has_no_secrets_whatever_people_put_into_objects() -> Result<()> {
    init_tracing();
    let ns = TestNamespace::start().await?;
    let planted = "planted-secret-0123456789";
    let key = "evk_shop_planted0123456789";
    let env = json!([{"name": "PASSWORD", "value": planted}]);
    let containers = json!([{"name": "broker", "env": env}]);
    let template = json!({"metadata": {"annotations": {"note": format!("the key is {key}")}}, "spec": {"containers": containers}});
    ns.apply("orders", json!({"brokers": {"podTemplate": template}})).await?;
    ns.settled("orders").await?;
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    pods::create(&ns, "orders", "orders-broker-a", 9090, ready).await?;
    let literal = format!("--from-literal=password={planted}");
    let secret = ["create", "secret", "generic", "shop", &literal, "--namespace", &ns.name];
    let created = ns.cluster.kubectl(&secret, None).await?;
    ensure!(created.status.success(), "{created:?}");

    let folder = process::folder("eventcast-report-")?;
    let file = folder.path().join("report.zip");
    let path = file.display().to_string();
    let (config, name) = (ns.cluster.admin_kubeconfig(), format!("{}/orders", ns.name));
    let told = run(&config, &["report", &name, "--file", &path]).await?;
    ensure!(told.status.success() && told.stdout.trim() == path, "{told:?}");
    let mut files = BTreeMap::new();
    let mut archive = zip::ZipArchive::new(fs::File::open(&file)?)?;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at)?;
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let name = entry.name()?.split_once('/').context("no folder")?.1.to_owned();
        files.insert(name, text);
    }
    for (file, wanted) in [
        ("channel.yaml", "name: PASSWORD"),
        ("objects/deployments.yaml", "name: PASSWORD"),
        ("objects/pods.yaml", "orders-broker-a"),
        ("objects/configmaps.yaml", "channels"),
        ("objects/services.yaml", "orders-broker"),
        ("events.yaml", "StreamCreated"),
        ("kubernetes.yaml", "gitVersion"),
        ("missing.txt", "brokers/orders-broker-a/log.txt"),
        ("README.txt", "no Secrets"),
    ] {
        let found = files.get(file).is_some_and(|text| text.contains(wanted));
        ensure!(found, "no {wanted} in {file}: {:?}", files.keys());
    }
    for (file, text) in &files {
        for secret in [planted, key, "managedFields"] {
            ensure!(!text.contains(secret), "{secret} is in {file}:\n{text}");
        }
    }
    Ok(())
}
