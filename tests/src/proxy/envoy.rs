//! Envoy.

use super::{Changes, Place, Setting};

pub(super) fn arguments(file: String) -> Vec<String> {
    let fixed = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"];
    fixed.map(str::to_owned).into_iter().chain([file]).collect()
}

pub(super) fn place(place: &Place<'_>) -> Changes {
    let endpoint = |host: &str, port: &str| {
        let address = format!("{{socket_address: {{address: {host}, port_value: {port}}}}}");
        format!("              - endpoint: {{address: {address}}}")
    };
    let (host, port) = place.address.rsplit_once(':').unwrap_or((place.address, "443"));
    [
        ("address: 0.0.0.0, port_value: 443", format!("address: {host}, port_value: {port}")),
        ("/etc/envoy/tls.crt", place.file("tls.crt")),
        ("/etc/envoy/tls.key", place.file("tls.key")),
    ]
    .map(|(from, to)| (from.to_owned(), to))
    .into_iter()
    .chain([(
        endpoint("10.0.0.11", "8080"),
        place.broker_lines(|_, host, port| endpoint(host, port)),
    )])
    .collect()
}

pub(super) fn changes(setting: Setting) -> Option<&'static [(&'static str, &'static str)]> {
    const FILTERS: &str = "                http_filters:\n";
    Some(match setting {
        Setting::Documented => &[],
        Setting::Compression => &[(
            FILTERS,
            "                http_filters:
                  - name: envoy.filters.http.compressor
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
                      response_direction_config:
                        common_config: {min_content_length: 1, content_type: [text/event-stream, application/json]}
                      compressor_library:
                        name: gzip
                        typed_config:
                          \"@type\": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
",
        )],
        Setting::IdleTimeout => &[("stream_idle_timeout: 3600s", "stream_idle_timeout: 5s")],
        Setting::TimeLimit => &[("timeout: 0s", "timeout: 5s")],
        Setting::SmallBodies => &[(
            FILTERS,
            "                http_filters:
                  - name: envoy.filters.http.buffer
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
                      max_request_bytes: 1048576
",
        )],
        Setting::Buffering => return None,
    })
}
