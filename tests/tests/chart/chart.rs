//! The chart as the real helm renders it: valid for every combination of values, and a helpful error for invalid values.

pub(crate) mod kinds;

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::crd::Crd;
use eventcast_tests::{
    chart::{self, find, text, title, values},
    golden::golden,
    kube::program,
    process,
    tls::KeyFiles,
};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// Where the table of values begins in the chart's README.
const VALUES: &str = "<!-- values:";

#[test]
fn helm_finds_nothing_to_complain_about() -> Result<()> {
    for file in chart::files("tests/chart/values", ".yaml")? {
        let file = file.to_str().context("a path that is not UTF-8")?;
        chart::helm(&["lint", "--strict", "--quiet"], &chart::folder(), &["--values", file])?;
    }
    Ok(())
}

#[test]
fn every_combination_is_valid_for_kubernetes() -> Result<()> {
    for (name, manifests) in chart::combinations()? {
        let mut seen = BTreeSet::new();
        for manifest in &manifests {
            let title = title(manifest);
            kinds::check(manifest).with_context(|| format!("{name}: {title}"))?;
            let whole = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];
            let namespace = text(manifest, "/metadata/namespace");
            let everywhere = whole.contains(&text(manifest, "/kind"));
            assert_eq!(namespace.is_empty(), everywhere, "{name}: {title} in {namespace:?}");
            let labels = &manifest["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/part-of"], "eventcast", "{name}: {title}");
            assert!(seen.insert((title.clone(), namespace)), "{name}: {title} comes twice");
        }
    }
    Ok(())
}

#[test]
fn common_annotations_are_on_every_object() -> Result<()> {
    for (name, manifests) in chart::combinations()? {
        let ours = manifests.iter().filter(|m| !text(m, "/metadata/name").ends_with("more"));
        for manifest in ours.filter(|_| name == "everything") {
            let owner = "/metadata/annotations/example.com~1owner";
            assert_eq!(text(manifest, owner), "platform", "{}", title(manifest));
        }
    }
    Ok(())
}

#[test]
fn every_value_is_set_by_some_combination() -> Result<()> {
    let defaults: Value = serde_saphyr::from_str(&chart::read("charts/eventcast/values.yaml")?)?;
    let mut set = Vec::new();
    for file in chart::files("tests/chart/values", ".yaml")? {
        set.push(serde_saphyr::from_str::<Value>(&fs::read_to_string(file)?)?);
    }
    let left: Vec<String> = values::leaves(&defaults)
        .into_iter()
        .filter(|path| {
            let pointer = format!("/{}", path.replace('.', "/"));
            set.iter().all(|values| values.pointer(&pointer).is_none())
        })
        // a key of a free mapping; "everything" has other ones
        .filter(|path| path != "dashboards.labels.grafana_dashboard")
        .collect();
    assert!(left.is_empty(), "no file of tests/chart/values sets {left:?}");
    Ok(())
}

#[derive(Deserialize)]
struct Refused {
    values: Value,
    says: String,
}

#[test]
fn invalid_values_are_rejected_with_advice() -> Result<()> {
    let folder = process::folder("eventcast-chart-")?;
    let file = folder.path().join("values.json");
    let cases: Vec<Refused> = serde_saphyr::from_str(&chart::read("tests/chart/refused.yaml")?)?;
    ensure!(cases.len() > 30, "only {} cases", cases.len());
    for Refused { values, says } in cases {
        fs::write(&file, values.to_string())?;
        match chart::template(&["--values", file.to_str().context("UTF-8")?]) {
            Ok(_) => panic!("{values} is taken"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(&says), "{values}: {says:?} is not in {error}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_schema_knows_every_value_and_no_other() -> Result<()> {
    let defaults: Value = serde_saphyr::from_str(&chart::read("charts/eventcast/values.yaml")?)?;
    let schema: Value = serde_json::from_str(&chart::read("charts/eventcast/values.schema.json")?)?;
    compare(&defaults, &schema, &schema, "")
}

/// Each mapping of the defaults is a closed object of the schema with the same keys, or one whose keys are free.
fn compare(defaults: &Value, schema: &Value, root: &Value, path: &str) -> Result<()> {
    let reference = text(schema, "/$ref").trim_start_matches('#');
    let schema = root.pointer(reference).filter(|_| !reference.is_empty()).unwrap_or(schema);
    let (Some(values), Some(known)) = (defaults.as_object(), schema["properties"].as_object())
    else {
        return Ok(());
    };
    // a parent chart may have more in "global"
    ensure!(path == ".global" || schema["additionalProperties"] == false, "{path} is open");
    for key in known.keys() {
        // of these only what is wanted has a value
        let optional =
            ["resources", "brokers.limits", "brokers.query", "brokers.podTemplate", "podSpec"];
        let optional = optional.iter().any(|end| path.ends_with(end))
            // the condition of a parent chart
            || path.is_empty() && key == "enabled";
        ensure!(optional || values.contains_key(key), "{path}.{key} has no default");
    }
    for (key, value) in values {
        let schema = known.get(key).with_context(|| format!("{path}.{key} has no schema"))?;
        compare(value, schema, root, &format!("{path}.{key}"))?;
    }
    Ok(())
}

#[test]
fn the_default_rendering_is_the_reviewed_one() -> Result<()> {
    // the CRD has a test of its own
    golden("tests/chart/golden/default.yaml", &chart::template(&["--set", "crds.enabled=false"])?);
    Ok(())
}

#[test]
fn the_table_of_values_is_up_to_date() -> Result<()> {
    let readme = chart::read("charts/eventcast/README.md")?;
    let begin = readme.find(VALUES).context("the README has no place for values")?;
    let head_ends = begin + readme[begin..].find('\n').context("no line")? + 1;
    let table = values::table(&chart::read("charts/eventcast/values.yaml")?)?;
    golden("charts/eventcast/README.md", &format!("{}\n{table}", &readme[..head_ends]));
    Ok(())
}

#[test]
fn images_have_a_tag_or_a_digest_and_the_registry_that_was_asked_for() -> Result<()> {
    let digest = format!("sha256:{}", "a".repeat(64));
    let by_digest = format!("image.digest={digest}");
    let cases: [(&[&str], &str); 5] = [
        (&[], "ghcr.io/eventcast/eventcast-operator:0.1.0"),
        (&["image.tag=edge"], "ghcr.io/eventcast/eventcast-operator:edge"),
        (
            &["image.tag=edge", &by_digest],
            &format!("ghcr.io/eventcast/eventcast-operator@{digest}"),
        ),
        (&["image.registry="], "eventcast/eventcast-operator:0.1.0"),
        (
            &["global.imageRegistry=localhost:5000/m", "image.repository=op"],
            "localhost:5000/m/op:0.1.0",
        ),
    ];
    for (sets, image) in cases {
        let options: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let manifests = chart::render(&options)?;
        let operator = find(&manifests, "Deployment/eventcast-operator")?;
        assert_eq!(text(operator, "/spec/template/spec/containers/0/image"), image);
    }
    Ok(())
}

#[test]
fn the_crds_are_the_generated_ones_and_survive_the_release() -> Result<()> {
    let manifests = chart::render(&[])?;
    let policy = "/metadata/annotations/helm.sh~1resource-policy";
    let without_policy = chart::render(&["--set", "crds.keep=false"])?;
    for crd in Crd::ALL {
        let generated = serde_json::to_value(crd.definition()?)?;
        let title = format!("CustomResourceDefinition/{}", text(&generated, "/metadata/name"));
        let rendered = find(&manifests, &title)?;
        assert!(same(&rendered["spec"], &generated["spec"]), "helm changed a value of {title}");
        for (name, value) in generated["metadata"]["labels"].as_object().into_iter().flatten() {
            assert_eq!(&rendered["metadata"]["labels"][name], value);
        }
        assert_eq!(text(rendered, policy), "keep");
        assert!(find(&without_policy, &title)?.pointer(policy).is_none());
    }
    assert!(
        chart::render(&["--set", "crds.enabled=false"])?
            .iter()
            .all(|manifest| { text(manifest, "/kind") != "CustomResourceDefinition" })
    );
    Ok(())
}

/// Whether two values are one for JSON: helm writes 1 for 1.0.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let has = |(key, value)| right.get(key).is_some_and(|other| same(value, other));
            left.len() == right.len() && left.iter().all(has)
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

#[test]
fn the_check_is_the_operators_own_view() -> Result<()> {
    for (name, manifests) in chart::combinations()? {
        let one = |kind: &str| manifests.iter().find(|manifest| text(manifest, "/kind") == kind);
        let (operator, check) = (one("Deployment").context("none")?, one("Pod").context("none")?);
        let (operator, check) = (&operator["spec"]["template"]["spec"], &check["spec"]);
        for same in ["/serviceAccountName", "/volumes", "/imagePullSecrets", "/securityContext"] {
            assert_eq!(operator.pointer(same), check.pointer(same), "{name}: {same}");
        }
        for same in ["image", "env", "volumeMounts", "securityContext"] {
            let of = |spec: &Value| spec["containers"][0][same].clone();
            assert_eq!(of(operator), of(check), "{name}: {same}");
        }
        assert_eq!(check["containers"][0]["args"], serde_json::json!(["check"]));
    }
    Ok(())
}

/// Each variable that the chart sets, over all combinations.
#[test]
fn every_flag_of_the_operator_can_be_set() -> Result<()> {
    let mut set = BTreeSet::new();
    for (name, manifests) in chart::combinations()? {
        for (_, spec) in chart::pods::specs(&manifests) {
            for variable in spec["containers"][0]["env"].as_array().into_iter().flatten() {
                assert_ne!(variable["value"], "", "{name}: {variable}: empty is not unset");
                set.extend(text(variable, "/name").strip_prefix("EVENTCAST_").map(str::to_owned));
            }
        }
    }
    let source = chart::read("operator/src/args.rs")?;
    let flags: BTreeSet<String> = source
        .split("env = \"EVENTCAST_")
        .skip(1)
        .filter_map(|rest| rest.split('"').next().map(str::to_owned))
        // these are POD_NAME and POD_NAMESPACE
        .filter(|flag| flag != "IDENTITY" && flag != "LEASE_NAMESPACE")
        // the chart gives a file instead, whose change restarts nothing
        .filter(|flag| flag != "LOG")
        .collect();
    assert_eq!(set, flags, "what the chart sets, and what the operator knows");
    Ok(())
}

#[test]
fn nats_takes_its_configuration() -> Result<()> {
    let (folder, keys) = (process::folder("eventcast-chart-")?, KeyFiles::new()?);
    let certificate = keys.config().certificate_file;
    let mounted = certificate.parent().context("no folder")?.display().to_string();
    for (name, manifests) in chart::combinations()? {
        let nats = |manifest: &&Value| manifest.pointer("/data/nats.conf").is_some();
        let Some(config) = manifests.iter().find(nats) else { continue };
        let file = folder.path().join("nats.conf");
        fs::write(&file, text(config, "/data/nats.conf").replace("/etc/nats-tls", &mounted))?;
        for password in ["secret", "123", "a\"b\\c$d #{", "12k"] {
            // as the pod's environment quotes it
            let mut server = Command::new(program("nats-server"));
            server
                .env("NATS_PASSWORD_QUOTED", format!("'{password}'"))
                .arg("-t")
                .arg("-c")
                .arg(&file);
            chart::run(&mut server).with_context(|| format!("{name}, password {password:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn the_notes_give_commands_that_can_be_copied() -> Result<()> {
    let notes = notes(&["--set", "watchNamespaces={team-a}"])?;
    for line in [
        "kubectl -n eventcast-system rollout status deployment/eventcast-operator",
        "helm test -n eventcast-system eventcast",
        "kubectl -n team-a wait eventchannel/demo --for=condition=Ready --timeout=2m",
        "kubectl -n team-a port-forward service/demo-broker 8080:80 &",
        "curl -N http://127.0.0.1:8080/channels/team-a/demo/events &",
    ] {
        assert!(notes.lines().any(|have| have == line), "{line} is not in\n{notes}");
    }
    let (_, rest) = notes.split_once("<<'END'\n").context("no document")?;
    let (channel, _) = rest.split_once("\nEND\n").context("a document that does not end")?;
    let channel: Value = serde_saphyr::from_str(channel)?;
    assert_eq!(title(&channel), "EventChannel/demo");
    assert!(notes.contains("It requires no password"), "{notes}");
    let with_password = self::notes(&["--set", "nats.auth.password=x"])?;
    assert!(!with_password.contains("requires no password"), "{with_password}");
    Ok(())
}

/// A copy of the chart, to change.
pub(crate) fn copy() -> Result<(TempDir, PathBuf)> {
    let folder = process::folder("eventcast-chart-")?;
    let copy = folder.path().join("chart");
    chart::run(Command::new("cp").arg("-r").arg(chart::folder()).arg(&copy))?;
    Ok((folder, copy))
}

/// `helm template` does not show notes: a copy of the chart has them in a manifest.
fn notes(options: &[&str]) -> Result<String> {
    let (_folder, copy) = copy()?;
    fs::copy(copy.join("templates/NOTES.txt"), copy.join("files/notes.txt"))?;
    let manifest = "notes: |\n  {{- tpl (.Files.Get \"files/notes.txt\") . | nindent 2 }}\n";
    fs::write(copy.join("templates/notes.yaml"), manifest)?;
    let only = ["--show-only", "templates/notes.yaml"];
    let manifests = chart::render_of(&copy, &[&only[..], options].concat())?;
    Ok(text(manifests.first().context("nothing rendered")?, "/notes").to_owned())
}

#[test]
fn examples_are_channels_and_pools() -> Result<()> {
    let files = chart::files("charts/eventcast/examples", ".yaml")?;
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        for manifest in chart::parse(&fs::read_to_string(&file)?)? {
            assert_eq!(
                text(&manifest, "/apiVersion"),
                "eventcast.dev/v1alpha1",
                "{}",
                file.display()
            );
            let kind = text(&manifest, "/kind");
            assert!(Crd::ALL.iter().any(|crd| crd.kind() == kind), "{}", file.display());
        }
    }
    Ok(())
}

#[test]
fn a_new_version_of_the_chart_alone_restarts_nothing() -> Result<()> {
    let (_folder, copy) = copy()?;
    let file = copy.join("Chart.yaml");
    let newer = fs::read_to_string(&file)?.replace("\nversion: 0.1.0", "\nversion: 99.0.0");
    fs::write(&file, newer)?;
    let (now, later) = (chart::render(&[])?, chart::render_of(&copy, &[])?);
    for made in ["Deployment/eventcast-operator", "StatefulSet/eventcast-nats"] {
        let [now, later] = [&now, &later].map(|manifests| find(manifests, made));
        let (now, later) = (now?, later?);
        assert_ne!(
            now["metadata"]["labels"], later["metadata"]["labels"],
            "{made}: the same version"
        );
        assert_eq!(now["spec"], later["spec"], "{made}");
    }
    Ok(())
}
