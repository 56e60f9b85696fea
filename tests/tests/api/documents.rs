//! The documents themselves, and that the broker serves one of them.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    http::{Version, client},
    repository,
    wire::BrokerWithNats,
};

const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_descriptions_are_valid_and_so_are_the_examples_of_the_documents() -> Result<()> {
    super::run("python", &[], &["documents.py"], CHECK_TIMEOUT).await
}

#[tokio::test]
async fn the_page_leads_to_the_description_of_the_api() -> Result<()> {
    let broker = BrokerWithNats::start(|config| config.page = true).await?;
    let http = client(Version::Http1);
    let page = http.get(broker.url("/")).send().await?;
    let link = page.headers().get("link").context("no link")?.to_str()?.to_owned();
    ensure!(link.contains("rel=\"service-desc\""), "{link}");
    let path = link.split(['<', '>']).nth(1).context("no target")?;

    let url = broker.url(&format!("/{path}"));
    let served = http.get(&url).send().await?;
    ensure!(served.headers()["content-type"] == "application/yaml", "{:?}", served.headers());
    let etag = served.headers().get("etag").context("no ETag")?.clone();
    let written = fs::read_to_string(repository().join("docs/openapi.yaml"))?;
    ensure!(served.text().await? == written, "another document");
    let again = http.get(&url).header("If-None-Match", etag).send().await?;
    ensure!(again.status() == 304, "{}", again.status());
    Ok(())
}

#[tokio::test]
async fn without_the_page_there_is_no_description() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let answer = client(Version::Http1).get(broker.url("/openapi.yaml")).send().await?;
    ensure!(answer.status() == 404, "{}", answer.status());
    Ok(())
}
