//! nginx.

use std::path::Path;

use super::{Changes, Place, Setting};

/// What is around the documented configuration.
pub(super) const MAIN: &str = "main.conf";

/// One process: without its master nothing would end the workers. All files are in the folder of the test.
pub(super) fn main() -> String {
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders: String = folders.map(|name| format!("    {name}_temp_path {name};\n")).concat();
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr warn;\n\
         events {{\n    worker_connections 1024;\n}}\n\
         http {{\n    access_log off;\n{folders}    include nginx.conf;\n}}\n"
    )
}

pub(super) fn arguments(folder: &Path, file: &str) -> Vec<String> {
    let folder = folder.display().to_string();
    ["-p", &folder, "-c", file, "-e", "stderr"].map(str::to_owned).into()
}

pub(super) fn place(place: &Place<'_>) -> Changes {
    let brokers = place.broker_lines(|_, host, port| format!("server {host}:{port};"));
    [
        ("listen 443 ssl http2;", format!("listen {} ssl http2;", place.address)),
        ("/etc/nginx/tls.crt", place.file("tls.crt")),
        ("/etc/nginx/tls.key", place.file("tls.key")),
        ("server 10.0.0.11:8080;", brokers),
    ]
    .map(|(from, to)| (from.to_owned(), to))
    .into()
}

pub(super) fn changes(setting: Setting) -> Option<&'static [(&'static str, &'static str)]> {
    const BUFFERING: &str = "proxy_buffering off;";
    Some(match setting {
        Setting::Documented => &[],
        Setting::Buffering => {
            &[(BUFFERING, "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;")]
        }
        Setting::Compression => &[(
            BUFFERING,
            "proxy_buffering off; gzip on; gzip_min_length 0; gzip_types text/event-stream application/json;",
        )],
        Setting::IdleTimeout => &[("proxy_read_timeout 1h;", "proxy_read_timeout 5s;")],
        Setting::TimeLimit => return None,
        Setting::SmallBodies => &[("client_max_body_size 4m;", "client_max_body_size 1m;")],
    })
}
