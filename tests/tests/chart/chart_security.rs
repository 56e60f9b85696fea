//! What the chart is allowed to do: its pods run under the restricted pod security standard, and its permissions are exactly the
//! listed ones.

use anyhow::{Context as _, Result};
use eventcast_tests::{
    chart::{self, find, pods, rights, text},
    golden::golden,
};
use serde_json::Value;

#[test]
fn every_pod_is_admitted_where_nothing_is_allowed() -> Result<()> {
    for (name, manifests) in chart::combinations()? {
        let specs = pods::specs(&manifests);
        assert!(specs.len() >= 2, "{name}");
        for (title, spec) in specs {
            let faults = pods::faults(spec);
            assert!(faults.is_empty(), "{name}: {title}: {faults:?}");
        }
    }
    Ok(())
}

/// OpenShift assigns a user and groups to each pod, and rejects pods that ask for others. Elsewhere the image has a numeric user, but for that
/// of NATS, which has none.
#[test]
fn no_pod_asks_for_a_user_where_the_platform_or_the_image_has_one() -> Result<()> {
    const IDS: [&str; 3] = ["runAsUser", "runAsGroup", "fsGroup"];
    let openshift = ["--api-versions", "security.openshift.io/v1"];
    for file in chart::files("tests/chart/values", ".yaml")? {
        let file = file.to_str().context("a path that is not UTF-8")?;
        for (platform, options) in [("openshift", &openshift[..]), ("other", &[])] {
            let manifests = chart::render(&[&["--values", file][..], options].concat())?;
            for (title, spec) in pods::specs(&manifests) {
                let is_nats = title.starts_with("StatefulSet/");
                for id in IDS {
                    let asks = spec.to_string().contains(id);
                    let may = is_nats && platform == "other";
                    assert_eq!(asks, may, "{file}: {platform}: {title}: {id}");
                }
                assert!(pods::faults(spec).is_empty(), "{file}: {platform}: {title}");
            }
        }
    }
    let dockerfile = chart::read("charts/Dockerfile")?;
    let users: Vec<_> = dockerfile.lines().filter(|line| line.starts_with("USER ")).collect();
    assert_eq!(users, ["USER 65532"; 2], "`runAsNonRoot` needs a number");
    assert!(chart::read("charts/pack.sh")?.contains(r#""User":"65532""#));
    Ok(())
}

#[test]
fn null_removes_a_key_of_a_security_context() -> Result<()> {
    let without = ["--set", "nats.podSecurityContext.runAsUser=null"];
    let manifests = chart::render(&without)?;
    let nats = &find(&manifests, "StatefulSet/eventcast-nats")?["spec"]["template"]["spec"];
    assert!(nats["securityContext"].get("runAsUser").is_none(), "{nats:#}");
    assert_eq!(nats["securityContext"]["fsGroup"], 65532);
    let without = ["--set", "containerSecurityContext.readOnlyRootFilesystem=null"];
    let manifests = chart::render(&without)?;
    let operator = &find(&manifests, "Deployment/eventcast-operator")?["spec"]["template"]["spec"];
    let context = &operator["containers"][0]["securityContext"];
    assert!(context.get("readOnlyRootFilesystem").is_none(), "{context:#}");
    assert_eq!(context["allowPrivilegeEscalation"], false);
    Ok(())
}

#[test]
fn the_rights_are_those_of_the_list() -> Result<()> {
    let combinations: [(&str, &[&str]); 4] = [
        (
            "no-identities",
            &["--set", "rbac.kubernetesIdentities=false", "--set", "rbac.clientRoles=false"],
        ),
        ("cluster", &[]),
        ("namespaces", &["--set", "watchNamespaces={team-a,team-b},rbac.aggregate=false"]),
        ("credentials", &["--set", "nats.auth.password=x"]),
    ];
    for (name, options) in combinations {
        let listing = rights::listing(&chart::render(options)?);
        golden(&format!("tests/chart/golden/rights-{name}.txt"), &listing);
    }
    Ok(())
}

#[test]
fn nobody_gets_everything_and_secrets_are_touched_only_for_credentials() -> Result<()> {
    for (name, manifests) in chart::combinations()? {
        let listing = rights::listing(&manifests);
        assert!(!listing.contains('*'), "{name}\n{listing}");
        let operator = find(&manifests, "Deployment/eventcast-operator")
            .or_else(|_| find(&manifests, "Deployment/events-operator"))?;
        let volumes = operator.pointer("/spec/template/spec/volumes").and_then(Value::as_array);
        let mounted = volumes.into_iter().flatten().any(|volume| volume["name"] == "nats");
        let secrets = listing.lines().find_map(|line| line.trim().strip_prefix("core/secrets: "));
        assert_eq!(secrets.is_some(), mounted && !listing.is_empty(), "{name}\n{listing}");
        let verbs = secrets.unwrap_or_default();
        assert!(!verbs.contains("list") && !verbs.contains("watch"), "{name}: {verbs}");
    }
    Ok(())
}

#[test]
fn a_password_stands_in_secrets_alone() -> Result<()> {
    let rendered = chart::template(&["--set", "nats.auth.password=hunter2hunter2"])?;
    assert!(!rendered.contains("hunter2"), "in the open");
    let manifests = chart::parse(&rendered)?;
    let secret = find(&manifests, "Secret/eventcast-nats-auth")?;
    assert_eq!(text(secret, "/data/password"), "aHVudGVyMmh1bnRlcjI=");
    Ok(())
}

/// Operator and brokers trust the authority of the certificate, and the key of the server stays with the server.
#[test]
fn with_tls_clients_of_nats_get_the_authority_and_not_the_key() -> Result<()> {
    let manifests = chart::render(&["--set", "nats.tls.existingSecret=nats-tls"])?;
    let operator = &find(&manifests, "Deployment/eventcast-operator")?["spec"]["template"]["spec"];
    let env = operator["containers"][0]["env"].as_array().context("no variables")?;
    let value = |name: &str| env.iter().find(|v| v["name"] == name).map(|v| v["value"].clone());
    assert_eq!(value("EVENTCAST_NATS_CA_FILE"), Some("/etc/eventcast/nats/ca.crt".into()));
    let servers = value("EVENTCAST_NATS_SERVERS").unwrap_or_default();
    assert_eq!(servers, "tls://eventcast-nats.eventcast-system.svc.cluster.local:4222");
    assert!(!operator.to_string().contains("tls.key"), "{operator:#}");
    let nats = find(&manifests, "StatefulSet/eventcast-nats")?.to_string();
    assert!(nats.contains("tls.key") && nats.contains("/etc/nats-tls"), "{nats}");
    let config = find(&manifests, "ConfigMap/eventcast-nats")?;
    assert!(text(config, "/data/nats.conf").contains("cert_file: /etc/nats-tls/tls.crt"));
    Ok(())
}

#[test]
fn only_operator_and_brokers_reach_nats() -> Result<()> {
    let manifests = chart::render(&[])?;
    let policy = find(&manifests, "NetworkPolicy/eventcast-nats")?;
    let rules = policy["spec"]["ingress"].as_array().context("no rules")?;
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0]["ports"], serde_json::json!([{"port": "nats", "protocol": "TCP"}]));
    let peers = rules[0]["from"].as_array().context("from everywhere")?;
    let brokers = "/podSelector/matchLabels/app.kubernetes.io~1name";
    assert_eq!(peers.len(), 2);
    assert_eq!(text(&peers[1], brokers), "eventcast-broker");
    // the pods that it lets in are those that the chart makes
    let allowed = &peers[0]["podSelector"];
    for title in ["Deployment/eventcast-operator", "Pod/eventcast-check"] {
        let maker = find(&manifests, title)?;
        let labels = maker.pointer("/spec/template/metadata/labels");
        let labels = labels.or_else(|| maker.pointer("/metadata/labels")).context("no labels")?;
        for (key, value) in allowed["matchLabels"].as_object().context("no labels")? {
            assert_eq!(&labels[key], value, "{title}");
        }
        let among = allowed["matchExpressions"][0]["values"].as_array().context("no values")?;
        assert!(among.contains(&labels["app.kubernetes.io/component"]), "{title}");
    }
    Ok(())
}
