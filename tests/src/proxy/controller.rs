//! Controllers of Ingresses and Gateways, as far as their settings go: what an Ingress or HTTPRoute says, as lines of the configuration of the
//! proxy behind it. Pure.
//!
//! Where the object says nothing about a setting, its value is one that hinders delivery within seconds, or that the proxy rejects: an annotation
//! that the operator forgets is noticed.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Changes, Kind};

/// What makes a proxy of an Ingress or an HTTPRoute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// ingress-nginx.
    IngressNginx,
    /// The HAProxy Kubernetes Ingress Controller (`haproxy.org`).
    HaProxyTechnologies,
    /// HAProxy Ingress (`haproxy-ingress.github.io`).
    HaProxyIngress,
    /// A Gateway with Envoy.
    EnvoyGateway,
}

/// An annotation, and the line of a configuration that it sets.
struct Setting {
    annotation: &'static str,
    /// The line of the configuration in `docs/proxies`.
    documented: &'static str,
    /// The line, with `{}` for the value.
    line: &'static str,
    /// The value without the annotation.
    default: &'static str,
}

const fn setting(
    annotation: &'static str,
    documented: &'static str,
    line: &'static str,
    default: &'static str,
) -> Setting {
    Setting { annotation, documented, line, default }
}

/// The value without an annotation that no client would miss at once: the proxy does not start with it.
const MISSING: &str = "is-missing";

const INGRESS_NGINX: &[Setting] = &[
    setting("proxy-buffering", "proxy_buffering off;", "proxy_buffering {};", "on"),
    setting("proxy-http-version", "proxy_http_version 1.1;", "proxy_http_version {};", MISSING),
    setting("proxy-read-timeout", "proxy_read_timeout 1h;", "proxy_read_timeout {}s;", "5"),
    setting("proxy-send-timeout", "proxy_send_timeout 1h;", "proxy_send_timeout {}s;", MISSING),
    setting("proxy-body-size", "client_max_body_size 4m;", "client_max_body_size {};", "1m"),
];

const HAPROXY_TECHNOLOGIES: &[Setting] = &[
    setting("timeout-server", "timeout server 1h", "timeout server {}", "5s"),
    setting("load-balance", "balance leastconn", "balance {}", MISSING),
];

const HAPROXY_INGRESS: &[Setting] = &[
    setting("timeout-server", "timeout server 1h", "timeout server {}", "5s"),
    setting("balance-algorithm", "balance leastconn", "balance {}", MISSING),
];

/// The longest duration of a response without a word of the HTTPRoute.
const GATEWAY_TIMEOUT: &str = "5s";

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::IngressNginx, Self::HaProxyTechnologies, Self::HaProxyIngress, Self::EnvoyGateway];

    /// The proxy that it configures.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::IngressNginx => Kind::Nginx,
            Self::HaProxyTechnologies | Self::HaProxyIngress => Kind::HaProxy,
            Self::EnvoyGateway => Kind::Envoy,
        }
    }

    /// A name for its objects.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IngressNginx => "ingress-nginx",
            Self::HaProxyTechnologies => "haproxy-technologies",
            Self::HaProxyIngress => "haproxy-ingress",
            Self::EnvoyGateway => "envoy-gateway",
        }
    }

    /// The prefix of its annotations, its settings, and the name of the annotation with further lines. `None` for a Gateway.
    const fn annotations(self) -> Option<(&'static str, &'static [Setting], &'static str)> {
        match self {
            Self::IngressNginx => {
                Some(("nginx.ingress.kubernetes.io/", INGRESS_NGINX, "configuration-snippet"))
            }
            Self::HaProxyTechnologies => {
                Some(("haproxy.org/", HAPROXY_TECHNOLOGIES, "backend-config-snippet"))
            }
            Self::HaProxyIngress => {
                Some(("haproxy-ingress.github.io/", HAPROXY_INGRESS, "config-backend"))
            }
            Self::EnvoyGateway => None,
        }
    }

    /// The line that an annotation stands for. `None` if it is that of no controller.
    #[must_use]
    pub fn line(key: &str, value: &str) -> Option<(Kind, String)> {
        Self::ALL.into_iter().find_map(|controller| {
            let (prefix, settings, _) = controller.annotations()?;
            let name = key.strip_prefix(prefix)?;
            let setting = settings.iter().find(|setting| setting.annotation == name)?;
            Some((controller.kind(), setting.line.replace("{}", value)))
        })
    }

    /// How the configuration in `docs/proxies` changes for `object`, an Ingress or an HTTPRoute.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn changes(self, object: &Value) -> Result<Changes> {
        let Some((prefix, settings, snippet)) = self.annotations() else {
            return of_route(object);
        };
        let annotations = &object["metadata"]["annotations"];
        let value = |name: &str| annotations[format!("{prefix}{name}")].as_str();
        let mut changes: Vec<_> = settings
            .iter()
            .map(|setting| {
                let value = value(setting.annotation).unwrap_or(setting.default);
                (setting.documented.to_owned(), setting.line.replace("{}", value))
            })
            .collect();
        let last = &mut changes.last_mut().context("a controller without settings")?.1;
        if self == Self::IngressNginx {
            // The administrator of this nginx trusts no header of an application.
            *last += "\nproxy_ignore_headers X-Accel-Buffering;";
        }
        if let Some(lines) = value(snippet) {
            *last = format!("{last}\n{lines}");
        }
        Ok(changes)
    }
}

fn of_route(route: &Value) -> Result<Changes> {
    let rules = route["spec"]["rules"].as_array().context("no HTTPRoute")?;
    let timeouts = &rules.first().context("an HTTPRoute without rules")?["timeouts"];
    let timeout = |name: &str| timeouts[name].as_str().unwrap_or(GATEWAY_TIMEOUT);
    let retries = "num_retries: 3";
    Ok(vec![
        (" timeout: 0s".to_owned(), format!(" timeout: {}", timeout("request"))),
        (
            format!("{retries}\n"),
            format!(
                "{retries}\n                              per_try_timeout: {}\n",
                timeout("backendRequest")
            ),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(changes: &Changes, documented: &str) -> String {
        let found = changes.iter().find(|(from, _)| from.contains(documented));
        found.map(|(_, to)| to.clone()).unwrap_or_default()
    }

    #[test]
    fn what_an_ingress_says_is_in_the_configuration_and_what_it_does_not_say_is_bad() {
        let prefix = "nginx.ingress.kubernetes.io";
        let ingress = json!({"metadata": {"annotations": {
            format!("{prefix}/proxy-read-timeout"): "3600",
            format!("{prefix}/configuration-snippet"): "gzip on;",
            "haproxy.org/timeout-server": "2h",
        }}});
        let nginx = Controller::IngressNginx.changes(&ingress).unwrap();
        assert_eq!(line(&nginx, "proxy_read_timeout"), "proxy_read_timeout 3600s;");
        let last = line(&nginx, "client_max_body_size");
        assert!(last.starts_with("client_max_body_size 1m;") && last.ends_with("gzip on;"));
        assert_eq!(line(&nginx, "proxy_buffering"), "proxy_buffering on;");
        let haproxy = Controller::HaProxyTechnologies.changes(&ingress).unwrap();
        assert_eq!(line(&haproxy, "timeout server"), "timeout server 2h");
        let other = Controller::HaProxyIngress.changes(&ingress).unwrap();
        assert_eq!(line(&other, "timeout server"), "timeout server 5s");
    }

    #[test]
    fn a_route_that_says_nothing_of_timeouts_gets_those_of_the_gateway() {
        let route = |timeouts: Value| json!({"spec": {"rules": [{"timeouts": timeouts}]}});
        let none = json!({"request": "0s", "backendRequest": "0s"});
        let changes = |timeouts| Controller::EnvoyGateway.changes(&route(timeouts)).unwrap();
        assert_eq!(line(&changes(none), " timeout: 0s"), " timeout: 0s");
        assert_eq!(line(&changes(Value::Null), " timeout: 0s"), " timeout: 5s");
        assert!(line(&changes(Value::Null), "num_retries").contains("per_try_timeout: 5s"));
    }
}
