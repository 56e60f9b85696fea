//! The health script for Argo CD, run by Lua 5.1 as Argo CD runs it, over the cases beside it.

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::chart;
use mlua::{Lua, Table, Value as LuaValue};
use serde::Deserialize;
use serde_json::Value;

const FOLDER: &str = "docs/gitops";

/// `health_test.yaml` of Argo CD's resource customizations.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Cases {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    health_status: Health,
    input_path: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Health {
    status: String,
    message: String,
}

fn to_lua(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    Ok(match value {
        Value::Null => LuaValue::Nil,
        Value::Bool(value) => LuaValue::Boolean(*value),
        Value::Number(number) => LuaValue::Number(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => LuaValue::String(lua.create_string(text)?),
        Value::Array(items) => {
            let items: mlua::Result<Vec<_>> = items.iter().map(|item| to_lua(lua, item)).collect();
            LuaValue::Table(lua.create_sequence_from(items?)?)
        }
        Value::Object(map) => {
            let table = lua.create_table()?;
            for (key, value) in map {
                table.set(key.as_str(), to_lua(lua, value)?)?;
            }
            LuaValue::Table(table)
        }
    })
}

/// What the script says of an object. Argo CD gives it no libraries but for tables and strings.
fn health(script: &str, object: &Value) -> Result<Health> {
    let libraries = mlua::StdLib::TABLE | mlua::StdLib::STRING;
    let lua = Lua::new_with(libraries, mlua::LuaOptions::default())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let run = || -> mlua::Result<Health> {
        lua.globals().set("obj", to_lua(&lua, object)?)?;
        let table: Table = lua.load(script).eval()?;
        Ok(Health { status: table.get("status")?, message: table.get("message")? })
    };
    run().map_err(|error| anyhow::anyhow!("{error}"))
}

#[test]
fn argo_cd_sees_the_health_of_a_channel() -> Result<()> {
    let script = chart::read(&format!("{FOLDER}/argocd-health.lua"))?;
    let cases: Cases =
        serde_saphyr::from_str(&chart::read(&format!("{FOLDER}/health_test.yaml"))?)?;
    let mut inputs = Vec::new();
    for Case { health_status, input_path } in cases.tests {
        let object: Value =
            serde_saphyr::from_str(&chart::read(&format!("{FOLDER}/{input_path}"))?)?;
        let found = health(&script, &object).with_context(|| input_path.clone())?;
        assert_eq!(found, health_status, "{input_path}");
        inputs.push(input_path);
    }
    let files = chart::files(&format!("{FOLDER}/testdata"), ".yaml")?;
    ensure!(files.len() == inputs.len() && files.len() >= 7, "a file without a case: {files:?}");
    let none = serde_json::json!({"metadata": {"generation": 1}});
    assert_eq!(health(&script, &none)?.status, "Progressing", "before the CRD has a default");
    Ok(())
}
