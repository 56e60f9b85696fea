//! `HAProxy`.

use super::{Changes, Place, Setting};

/// `-db`: one process, in the foreground.
pub(super) fn arguments(file: String) -> Vec<String> {
    vec!["-db".into(), "-f".into(), file]
}

pub(super) fn place(place: &Place<'_>) -> Changes {
    let brokers =
        place.broker_lines(|n, host, port| format!("    server broker{n} {host}:{port} check"));
    [
        ("bind :443 ", format!("bind {} ", place.address)),
        ("/etc/haproxy/events.pem", place.file("tls.pem")),
        ("    server broker1 10.0.0.11:8080 check", brokers),
    ]
    .map(|(from, to)| (from.to_owned(), to))
    .into()
}

pub(super) fn place_tcp(place: &Place<'_>) -> Changes {
    let brokers = place.broker_lines(|n, host, port| {
        format!("    server broker{n} {host}:{port} check send-proxy-v2")
    });
    vec![
        ("bind :443".to_owned(), format!("bind {}", place.address)),
        ("    server broker1 10.0.0.11:8443 check send-proxy-v2".to_owned(), brokers),
    ]
}

pub(super) fn changes(setting: Setting) -> Option<&'static [(&'static str, &'static str)]> {
    const BACKEND: &str = "    balance leastconn\n";
    Some(match setting {
        Setting::Documented => &[],
        Setting::Compression => &[(
            BACKEND,
            "    balance leastconn\n    compression algo gzip\n    compression type text/event-stream application/json\n",
        )],
        Setting::IdleTimeout => &[("timeout server 1h", "timeout server 5s")],
        Setting::SmallBodies => &[(
            BACKEND,
            "    balance leastconn\n    http-request deny deny_status 413 if { req.body_size gt 1048576 }\n",
        )],
        Setting::Buffering | Setting::TimeLimit => return None,
    })
}
