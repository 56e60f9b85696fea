//! Generated documents match their sources; `make docs` writes them again.

use anyhow::Result;
use eventcast_crds::{
    channel::{crd_yaml, json_schema},
    config::{BrokerConfig, ChannelConfig},
};
use eventcast_tests::{golden::golden, reference};

#[test]
fn the_reference_of_the_configuration_is_up_to_date() -> Result<()> {
    let schema = serde_json::to_value(schemars::schema_for!(BrokerConfig))?;
    golden("docs/config.schema.json", &(serde_json::to_string_pretty(&schema)? + "\n"))?;
    let channels = vec![ChannelConfig::new("default", "demo")];
    let defaults = serde_json::to_value(BrokerConfig { channels, ..BrokerConfig::default() })?;
    golden("docs/CONFIGURATION.md", &reference::markdown(&schema, &defaults))?;
    Ok(())
}

#[test]
fn the_definition_and_the_charts_copy_of_it_are_up_to_date() -> Result<()> {
    let text = crd_yaml()?;
    let schema = serde_json::to_string_pretty(&json_schema()?)? + "\n";
    golden("crds/eventchannel.schema.json", &schema)?;
    golden("crds/eventchannel.yaml", &text)?;
    golden("charts/eventcast/files/eventchannel.yaml", &text)
}
