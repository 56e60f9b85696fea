//! Generated documents match their sources; `make docs` writes them again.

use anyhow::Result;
use eventcast_crds::{
    config::{BrokerConfig, ChannelConfig},
    crd::Crd,
};
use eventcast_tests::{golden::golden, reference};

#[test]
fn the_reference_of_the_configuration_is_up_to_date() -> Result<()> {
    let schema = serde_json::to_value(schemars::schema_for!(BrokerConfig))?;
    golden("docs/config.schema.json", &(serde_json::to_string_pretty(&schema)? + "\n"));
    let channels = vec![ChannelConfig::new("default", "demo")];
    let defaults = serde_json::to_value(BrokerConfig { channels, ..BrokerConfig::default() })?;
    golden("docs/CONFIGURATION.md", &reference::configuration::markdown(&schema, &defaults));
    Ok(())
}

#[test]
fn the_definitions_and_the_charts_copies_of_them_are_up_to_date() -> Result<()> {
    for crd in Crd::ALL {
        let (name, text) = (crd.kind().to_lowercase(), crd.yaml()?);
        let schema = serde_json::to_string_pretty(&crd.json_schema()?)? + "\n";
        golden(&format!("crds/{name}.schema.json"), &schema);
        golden(&format!("crds/{name}.yaml"), &text);
        golden(&format!("charts/eventcast/files/{name}.yaml"), &text);
    }
    Ok(())
}

#[test]
fn the_references_of_resources_and_conditions_are_up_to_date() -> Result<()> {
    for crd in Crd::ALL {
        let page = format!("docs/reference/{}.md", crd.kind().to_lowercase());
        golden(&page, &reference::custom_resource::markdown(crd)?);
    }
    golden("docs/reference/conditions.md", &reference::conditions::markdown());
    Ok(())
}
