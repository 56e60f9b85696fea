//! `docs/HTTP.md` and `docs/openapi.yaml` tell the same: requests, parameters, statuses, problems, control events and reasons.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::chart;
use serde_json::Value;

/// What the resources of a channel begin with.
const CHANNEL: &str = "/channels/{namespace}/{channel}";
/// Requests of the web page and of the admin port have no parameters or problems of their own.
static METHODS: [&str; 3] = ["get", "post", "delete"];

fn openapi() -> Result<Value> {
    Ok(serde_saphyr::from_str(&chart::read("docs/openapi.yaml")?)?)
}

/// The requests of a channel: method, the rest of the path, and the description.
fn requests(openapi: &Value) -> Result<Vec<(&str, &str, &Value)>> {
    let paths = openapi["paths"].as_object().context("no paths")?;
    let of_channels =
        paths.iter().filter_map(|(path, item)| Some((path.strip_prefix(CHANNEL)?, item)));
    let requests = of_channels
        .flat_map(|(rest, item)| METHODS.iter().map(move |&method| (method, rest, &item[method])));
    Ok(requests.filter(|(_, _, operation)| operation.is_object()).collect())
}

/// The constants of a schema that lists them one by one.
fn constants<'a>(openapi: &'a Value, schema: &str) -> BTreeSet<&'a str> {
    let list = openapi["components"]["schemas"][schema]["oneOf"].as_array();
    list.into_iter().flatten().filter_map(|one| one["const"].as_str()).collect()
}

/// The code in a text: what stands between backticks.
fn code(text: &str) -> BTreeSet<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn requests_parameters_and_statuses_are_those_of_the_description() -> Result<()> {
    let (openapi, page) = (openapi()?, chart::read("docs/HTTP.md")?);
    let code = code(&page);
    let mut statuses = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (method, rest, operation) in requests(&openapi)? {
        let path = if rest.is_empty() { CHANNEL.to_owned() } else { format!("…{rest}") };
        let request = format!("`{} {path}", method.to_uppercase());
        ensure!(page.contains(&request), "HTTP.md has no {request}`");
        statuses.extend(operation["responses"].as_object().context("responses")?.keys().cloned());
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let reference = parameter["$ref"].as_str().and_then(|path| path.strip_prefix('#'));
            let parameter = reference.and_then(|path| openapi.pointer(path)).unwrap_or(parameter);
            names.insert(parameter["name"].as_str().context("a parameter without a name")?);
        }
    }
    for name in &names {
        let known =
            code.iter().any(|code| code.split(['=', '?', '&', ' ', ':']).any(|word| word == *name))
                || (name.starts_with("ce-") && code.contains("ce-*"));
        ensure!(known, "HTTP.md has no parameter {name}");
    }
    let described: BTreeSet<&str> = code
        .iter()
        .filter_map(|code| code.split(' ').next())
        .filter(|word| word.len() == 3 && word.chars().all(|c| c.is_ascii_digit()))
        .collect();
    for status in &statuses {
        ensure!(described.contains(&**status), "HTTP.md has no status {status}");
    }
    ensure!(names.len() > 15 && statuses.len() > 15, "{names:?}, {statuses:?}");
    Ok(())
}

#[test]
fn problems_events_and_reasons_are_those_of_the_description() -> Result<()> {
    let (openapi, page) = (openapi()?, chart::read("docs/HTTP.md")?);
    let (_, errors) = page.split_once("\n## Errors\n").context("no errors")?;
    let (table, _) = errors.split_once("\n\n**").context("nothing below the table")?;
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let listed: BTreeSet<_> = rows.filter_map(|row| row.split('|').nth(2)).flat_map(code).collect();
    let problems = constants(&openapi, "ProblemType");
    let problems: BTreeSet<_> =
        problems.iter().filter_map(|kind| kind.strip_prefix("urn:eventcast:problem:")).collect();
    ensure!(listed == problems, "HTTP.md lists\n{listed:?}\nopenapi.yaml\n{problems:?}");

    let code = code(&page);
    let schemas = openapi["components"]["schemas"].as_object().context("no schemas")?;
    let events =
        schemas.values().filter_map(|schema| schema["properties"]["event"]["const"].as_str());
    let mut wanted: BTreeSet<_> = events.collect();
    wanted.extend(constants(&openapi, "ClosingReason"));
    wanted.extend(constants(&openapi, "GapReason"));
    ensure!(wanted.len() > 18, "{wanted:?}");
    for name in wanted {
        ensure!(code.contains(name), "HTTP.md has no {name}");
    }
    Ok(())
}
