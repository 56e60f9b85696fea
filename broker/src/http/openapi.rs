//! `docs/openapi.yaml` describes what the code does: its routes, parameters, problems and reasons, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use eventcast_wire::{closing::CloseReason, gap::GapReason};
use serde_json::Value;

use super::{
    params::known::{self, KnownParams},
    problem::Kind,
    route::{ROUTES, Resource, USUAL},
};

const DOCUMENT: &str = include_str!("../../../docs/openapi.yaml");

fn document() -> Value {
    serde_saphyr::from_str(DOCUMENT).expect("YAML")
}

/// The target of a reference, or the value itself.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.map_or(value, |target| document.pointer(target).expect(target))
}

/// The operations of a path by their methods, as in `Allow`.
fn operations(path: &Value) -> BTreeMap<String, &Value> {
    let members = path.as_object().into_iter().flatten();
    let operations = members.filter(|(name, _)| *name != "parameters" && *name != "servers");
    operations.map(|(name, value)| (name.to_uppercase(), value)).collect()
}

fn operation<'a>(document: &'a Value, resource: Resource, method: &str) -> &'a Value {
    let route = ROUTES.iter().find(|route| route.resource == resource).expect("a route");
    operations(&document["paths"][route.path])[method]
}

/// The values of a schema that lists them as `oneOf` with `const`.
fn constants(schema: &Value) -> BTreeSet<&str> {
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    choices.filter_map(|choice| choice["const"].as_str()).collect()
}

#[test]
fn every_route_is_described_with_its_methods() {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let described: BTreeMap<&str, BTreeSet<String>> = paths
        .iter()
        .filter(|(_, path)| path["servers"].is_null()) // the admin port has others
        .map(|(name, path)| (name.as_str(), operations(path).into_keys().collect()))
        .collect();
    let methods = |methods: &str| methods.split(", ").map(str::to_owned).collect();
    let routes = ROUTES.iter().map(|route| (route.path, methods(route.methods))).collect();
    assert_eq!(described, routes);
}

#[test]
fn every_problem_is_described_with_its_status_and_title() {
    let document = document();
    let responses = document["components"]["responses"].as_object().expect("responses");
    let mut described = BTreeSet::new();
    for response in responses.values() {
        let schema = &response["content"]["application/problem+json"]["schema"]["properties"];
        let types = schema["type"]["enum"].as_array().into_iter().flatten();
        let status = schema["status"]["const"].as_u64().unwrap_or_default();
        described.extend(types.filter_map(Value::as_str).map(|name| (status, name.to_owned())));
    }
    let urn = |kind: &Kind| format!("urn:eventcast:problem:{}", kind.name);
    let status = |kind: &Kind| u64::from(kind.status.as_u16());
    let kinds: BTreeSet<_> = Kind::ALL.iter().map(|kind| (status(kind), urn(kind))).collect();
    assert_eq!(described, kinds);

    let types = document["components"]["schemas"]["ProblemType"]["oneOf"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let types = types.into_iter().flatten();
    let titles: BTreeSet<_> = types.map(|t| (text(&t["const"]), text(&t["title"]))).collect();
    let expected = Kind::ALL.iter().map(|kind| (urn(kind), kind.title.to_owned())).collect();
    assert_eq!(titles, expected);
}

#[test]
fn every_response_is_that_of_an_operation_under_its_status() {
    let document = document();
    let mut used = BTreeSet::from(["MethodNotAllowed"]); // of every method that is not described
    for path in document["paths"].as_object().expect("paths").values() {
        for operation in operations(path).into_values() {
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let schema = resolve(&document, response);
                let schema = &schema["content"]["application/problem+json"]["schema"];
                if let Some(described) = schema["properties"]["status"]["const"].as_u64() {
                    assert_eq!(&described.to_string(), status, "{}", operation["operationId"]);
                }
                used.extend(response["$ref"].as_str().and_then(|name| name.rsplit('/').next()));
            }
        }
    }
    let all = document["components"]["responses"].as_object().expect("responses");
    assert_eq!(used, all.keys().map(String::as_str).collect());
}

#[test]
fn usual_statuses_are_described() {
    let document = document();
    for (resource, method, codes) in USUAL {
        let responses = &operation(&document, resource, method)["responses"];
        for code in codes {
            assert!(responses.get(code.to_string()).is_some(), "{resource:?} {method} {code}");
        }
    }
}

#[test]
fn every_parameter_is_described_and_no_other() {
    let document = document();
    let described = |resource, method, place: &str| -> BTreeSet<String> {
        let parameters = operation(&document, resource, method)["parameters"].as_array();
        let parameters = parameters.into_iter().flatten().map(|p| resolve(&document, p));
        let parameters = parameters.filter(|parameter| parameter["in"] == place);
        parameters.map(|p| p["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let lower = |names: BTreeSet<String>| -> BTreeSet<String> {
        let names = names.into_iter().map(|name| name.to_ascii_lowercase());
        names.filter(|name| name.starts_with("eventcast-")).collect()
    };
    for (resource, method, known) in [
        (Resource::Channels, "GET", &[&known::CHANNELS][..]),
        (Resource::Channel, "GET", &[&known::CHANNEL]),
        (Resource::Events, "GET", &[&known::SUBSCRIBE, &known::HISTORY]),
        (Resource::Events, "POST", &[&known::PUBLISH]),
        (Resource::Events, "DELETE", &[&known::ERASE]),
        (Resource::Event, "DELETE", &[&known::ERASE_EVENT]),
        (Resource::Stats, "GET", &[&known::STATS]),
        (Resource::Access, "GET", &[&known::ACCESS]),
        (Resource::Tickets, "POST", &[&known::TICKETS]),
        (Resource::Renewal, "POST", &[&known::RENEWALS]),
        (Resource::Subscribers, "GET", &[&known::SUBSCRIBERS]),
        (Resource::Subscribers, "DELETE", &[&known::DISCONNECT]),
    ] {
        let all = |names: fn(&KnownParams) -> &'static [&'static str]| -> BTreeSet<String> {
            known.iter().flat_map(|known| names(known)).map(|name| (*name).to_owned()).collect()
        };
        assert_eq!(described(resource, method, "query"), all(|known| known.params));
        assert_eq!(lower(described(resource, method, "header")), all(|known| known.headers));
    }
}

#[test]
fn every_reason_of_gaps_and_closings_is_described() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let gaps: BTreeSet<_> = GapReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(constants(&schemas["GapReason"]), gaps);

    // These are counted and never sent.
    let unsent = [CloseReason::Client, CloseReason::Stalled, CloseReason::UnexpectedInput];
    let sent = CloseReason::ALL.into_iter().filter(|reason| !unsent.contains(reason));
    let refused = [
        Kind::STREAM_DRAINING,
        Kind::STREAM_OVERLOADED,
        Kind::STREAM_QUOTA,
        Kind::UNAVAILABLE,
        Kind::MOVING,
    ];
    let reasons = sent.map(CloseReason::as_str).chain(refused.map(|kind| kind.name)).collect();
    assert_eq!(constants(&schemas["ClosingReason"]), reasons);
}
