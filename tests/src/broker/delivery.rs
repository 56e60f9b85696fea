//! What a broker reports about the delivery to clients.

use std::time::Duration;

use anyhow::{Context as _, Result};
use eventcast_crds::broker_status::{BrokerStatus, DeliveryReport, PATH};

use super::Broker;
use crate::{
    eventually,
    http::{Version, client},
};

/// A probe that finds something is repeated once.
const REPORT_TIMEOUT: Duration = Duration::from_secs(60);

impl Broker {
    /// The report of the first delivery probe of `url`, which is one of `default/demo`.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn delivery_report(&self, url: &str) -> Result<DeliveryReport> {
        eventually(&format!("a report about {url}"), REPORT_TIMEOUT, || async {
            let state = client(Version::Http1).get(self.admin_url(PATH)).send().await?;
            let state: BrokerStatus = serde_json::from_str(&state.text().await?)?;
            let report = state.channel("default/demo").and_then(|channel| channel.delivery.clone());
            report.filter(|report| report.url == url).context("none yet")
        })
        .await
    }
}
