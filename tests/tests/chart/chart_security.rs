//! What the chart is allowed to do: its pods run under the restricted pod security standard, and its permissions are exactly the
//! listed ones.

use anyhow::{Context as _, Result};
use eventcast_tests::{
    chart::{self, find, pods, rights, text},
    golden::golden,
};

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
        golden(&format!("tests/chart/golden/rights-{name}.txt"), &listing)?;
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
        let mounted = operator.pointer("/spec/template/spec/volumes").is_some();
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
