//! Who may import whom: no circle between the modules of a crate, no clock and no I/O in what is pure, and one place each that
//! knows NATS and hyper.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::scan::{CodePath, Source, library};

/// The libraries whose modules must not import one another in a circle.
const LIBRARIES: [&str; 7] = [
    "broker/src",
    "broker/cli/src",
    "broker/token/src",
    "broker/wire/src",
    "operator/src",
    "crds/src",
    "crds/runtime/src",
];

/// Files, sockets, processes and tasks: in no pure crate. Addresses of `std::net` and a given `Instant` are values.
const EFFECTS: [&[&str]; 9] = [
    &["tokio"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "net", "TcpListener"],
    &["std", "net", "TcpStream"],
    &["std", "net", "ToSocketAddrs"],
    &["std", "net", "UdpSocket"],
];

/// The last two segments of what reads the clock.
const CLOCKS: [[&str; 2]; 4] =
    [["Instant", "now"], ["SystemTime", "now"], ["Timestamp", "now"], ["Zoned", "now"]];

/// The module of the first level that a path leads to, and "the root" for what stands in `lib.rs` itself.
fn first_level(path: &CodePath, modules: &BTreeSet<String>) -> Option<String> {
    let (base, rest): (&[String], &[String]) = match path.segments.first()?.as_str() {
        "crate" => (&[], &path.segments[1..]),
        "self" => (&path.module, &path.segments[1..]),
        "super" => {
            let ups = path.segments.iter().take_while(|segment| *segment == "super").count();
            (&path.module[..path.module.len().checked_sub(ups)?], &path.segments[ups..])
        }
        name if path.module.is_empty() && modules.contains(name) => (&[], &path.segments[..]),
        _ => return None,
    };
    let name = base.first().or(rest.first())?;
    Some(if modules.contains(name) { name.clone() } else { "the root".to_owned() })
}

/// Importing module, imported module, and the first line that does it.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

fn imports(sources: &[Source], folder: &str) -> Imports {
    let module_of = |source: &Source| {
        let name = source.file[folder.len() + 1..].split(['/', '.']).next().unwrap_or_default();
        if name == "lib" { "the root".to_owned() } else { name.to_owned() }
    };
    let modules: BTreeSet<String> = sources.iter().map(module_of).collect();
    let mut imports = Imports::new();
    for source in sources {
        let from = module_of(source);
        for path in &source.paths {
            let Some(to) = first_level(path, &modules).filter(|to| *to != from) else { continue };
            let line = format!("{}:{}: {}", source.file, path.line, path.segments.join("::"));
            imports.entry(from.clone()).or_default().entry(to).or_insert(line);
        }
    }
    imports
}

/// A shortest way from `from` back to itself, as the lines that import.
fn circle(imports: &Imports, from: &str) -> Option<Vec<String>> {
    let mut ways: Vec<(&str, Vec<String>)> = vec![(from, Vec::new())];
    let mut seen = BTreeSet::new();
    for index in 0.. {
        let (module, way) = ways.get(index)?.clone();
        for (to, line) in imports.get(module).into_iter().flatten() {
            let way = [&way[..], &[format!("{module} -> {to}: {line}")]].concat();
            if to == from {
                return Some(way);
            }
            if seen.insert(to) {
                ways.push((to, way));
            }
        }
    }
    None
}

#[test]
fn no_module_is_imported_by_what_it_imports() -> Result<()> {
    let mut circles = BTreeSet::new();
    for folder in LIBRARIES {
        let imports = imports(&library(folder)?, folder);
        for module in imports.keys() {
            if let Some(mut lines) = circle(&imports, module) {
                lines.sort(); // the same circle from each of its modules
                circles.insert(format!("a circle in {folder}:\n  {}\n", lines.join("\n  ")));
            }
        }
    }
    ensure!(circles.is_empty(), "{}", circles.into_iter().collect::<String>());
    Ok(())
}

/// Fails with every path of `folder` that is `forbidden`.
fn forbid(folder: &str, rule: &str, forbidden: impl Fn(&Source, &[&str]) -> bool) -> Result<()> {
    let mut found = Vec::new();
    for source in library(folder)? {
        for path in &source.paths {
            let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
            if forbidden(&source, &segments) {
                found.push(format!("{}:{}: {}", source.file, path.line, segments.join("::")));
            }
        }
    }
    ensure!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn the_contract_and_the_wire_have_no_clock_and_no_io() -> Result<()> {
    for folder in ["crds/src", "broker/wire/src"] {
        forbid(folder, "no clock and no I/O in a pure crate", |_, path| {
            EFFECTS.iter().any(|effect| path.starts_with(effect))
                || CLOCKS.iter().any(|clock| path.ends_with(clock))
        })?;
    }
    Ok(())
}

#[test]
fn only_log_and_cluster_of_the_broker_know_nats() -> Result<()> {
    let may = [
        "broker/src/log.rs",
        "broker/src/log/",
        "broker/src/cluster/messages.rs", // what brokers say to each other
        "broker/src/cluster/probes.rs",   // events of delivery probes
        "broker/src/cluster/store.rs",    // what they share beside the log
        "broker/src/dev.rs",
        "broker/src/dev/",
    ];
    forbid(
        "broker/src",
        "async_nats is known in log, dev and three files of cluster alone",
        |source, path| {
            path[0] == "async_nats" && !may.iter().any(|place| source.file.starts_with(place))
        },
    )
}

#[test]
fn only_http_server_one_sink_and_two_clients_of_the_broker_know_hyper() -> Result<()> {
    let may = [
        "broker/src/http.rs",
        "broker/src/http/",
        "broker/src/server.rs",
        "broker/src/server/",
        "broker/src/fanout/body.rs",
        "broker/src/http2/body.rs",        // the trait of bodies
        "broker/src/access/keys/fetch.rs", // the client that fetches the keys of token issuers
        "broker/src/probe/",               // the client of delivery probes
    ];
    forbid(
        "broker/src",
        "hyper is known in http, server, two bodies, probe and access/keys/fetch.rs alone",
        |source, path| {
            matches!(path[0], "hyper" | "hyper_util")
                && !may.iter().any(|place| source.file.starts_with(place))
        },
    )
}

#[test]
fn only_tls_and_two_clients_of_the_broker_know_rustls() -> Result<()> {
    let may = [
        "broker/src/tls.rs",
        "broker/src/tls/",
        "broker/src/outbound.rs",          // what both clients trust
        "broker/src/access/keys/fetch.rs", // the client that fetches the keys of token issuers
        "broker/src/probe/",               // the client of delivery probes
    ];
    forbid(
        "broker/src",
        "rustls is known in tls, outbound, probe and access/keys/fetch.rs alone",
        |source, path| {
            matches!(path[0], "rustls" | "tokio_rustls" | "rustls_native_certs")
                && !may.iter().any(|place| source.file.starts_with(place))
        },
    )
}

#[test]
fn only_two_modules_of_the_command_line_know_hyper_rustls_and_kube() -> Result<()> {
    for (libraries, places) in [
        (
            &["hyper", "hyper_util", "rustls", "rustls_native_certs", "tokio_rustls"][..],
            ["broker/cli/src/client.rs", "broker/cli/src/client/"],
        ),
        (&["kube"][..], ["broker/cli/src/kubernetes.rs", "broker/cli/src/kubernetes/"]),
    ] {
        let rule = format!("{libraries:?} are known in {} alone", places[0]);
        forbid("broker/cli/src", &rule, |source, path| {
            libraries.contains(&path[0]) && !places.iter().any(|p| source.file.starts_with(p))
        })?;
    }
    Ok(())
}

#[test]
fn what_the_command_line_concludes_and_prints_has_no_clock_and_no_io() -> Result<()> {
    let pure = [
        "check/channel.rs",
        "check/judge.rs",
        "conditions.rs",
        "complete.rs",
        "connections.rs",
        "cursor_order.rs",
        "latencies.rs",
        "measured.rs",
        "metrics.rs",
        "ndjson.rs",
        "printable.rs",
        "problem.rs",
        "rates.rs",
        "report/redact.rs",
        "retry.rs",
        "stream/parser.rs",
        "target.rs",
        "text.rs",
        "text/",
    ];
    forbid("broker/cli/src", "no clock and no I/O where text is made", |source, path| {
        let file = source.file.trim_start_matches("broker/cli/src/");
        pure.iter().any(|pure| file.starts_with(pure))
            && (EFFECTS.iter().any(|effect| path.starts_with(effect))
                || CLOCKS.iter().any(|clock| path.ends_with(clock)))
    })
}

#[test]
fn only_the_protocol_knows_the_codec_of_http2() -> Result<()> {
    forbid("broker/src", "h2 is known in http2 alone", |source, path| {
        path[0] == "h2" && !source.file.starts_with("broker/src/http2/")
    })
}

#[test]
fn a_circle_is_found_with_its_lines() {
    let path = |segments: &str, module: &[&str], line| CodePath {
        segments: segments.split("::").map(str::to_owned).collect(),
        module: module.iter().map(|name| (*name).to_owned()).collect(),
        line,
    };
    let source = |file: &str, paths| Source { file: format!("x/src/{file}"), paths };
    let sources = [
        source("lib.rs", vec![path("server::run", &[], 1)]),
        source(
            "server.rs",
            vec![path("self::two::X", &["server"], 2), path("crate::http", &["server"], 3)],
        ),
        source("http/page.rs", vec![path("super::super::log::Log", &["http", "page"], 4)]),
        source("log.rs", vec![path("crate::server::X", &["log"], 5), path("std::fs", &["log"], 6)]),
    ];
    let imports = imports(&sources, "x/src");
    assert_eq!(circle(&imports, "the root"), None);
    let lines = circle(&imports, "http").unwrap();
    assert_eq!(
        lines,
        [
            "http -> log: x/src/http/page.rs:4: super::super::log::Log",
            "log -> server: x/src/log.rs:5: crate::server::X",
            "server -> http: x/src/server.rs:3: crate::http",
        ]
    );
}
