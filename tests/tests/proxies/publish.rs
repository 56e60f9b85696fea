//! Publishing: the largest bodies that a channel accepts pass, and what it refuses is refused by the broker.

use anyhow::{Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    http::{Answer, Publish, Version, client},
    proxy::{Kind, Proxy, Setting},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS},
};

use super::{answer, proxy};

/// A batch whose body has exactly this many bytes.
fn batch(bytes: usize) -> String {
    const LINE: usize = 100_000;
    let mut body = String::new();
    while body.len() < bytes {
        let rest = bytes - body.len();
        // the last line takes what is left, so that none is too short for its frame
        let line = if rest < 2 * LINE { rest } else { LINE };
        let frame = "{\"data\":\"\"}\n".len();
        body += &format!("{{\"data\":\"{}\"}}\n", "x".repeat(line - frame));
    }
    body
}

async fn post(proxy: &Proxy, version: Version, body: String) -> Result<Answer> {
    let publish = Publish::new(body).header("Content-Type", "application/x-ndjson");
    answer(&publish, version, proxy).await
}

#[tokio::test]
async fn a_body_of_max_batch_bytes_is_stored_and_one_byte_more_is_413() -> Result<()> {
    let mut largest = 0;
    let broker = BrokerWithNats::start(|config: &mut BrokerConfig| {
        largest = config.channels[0].publishing.max_batch_bytes;
    })
    .await?;
    for kind in Kind::ALL {
        let proxy = proxy(kind, Setting::Documented, &broker).await?;
        for version in HTTP_VERSIONS {
            let answer = post(&proxy, version, batch(largest)).await?;
            ensure!(
                answer.status == 201,
                "{kind:?} {version:?}: {} {}",
                answer.status,
                answer.json
            );
            let too_large = post(&proxy, version, batch(largest + 1)).await?;
            ensure!(too_large.status == 413, "{kind:?} {version:?}: {too_large:?}");
        }
    }
    Ok(())
}

/// Pages publish through the same proxy that they read from.
#[tokio::test]
async fn what_is_published_through_a_proxy_is_delivered_through_it() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for kind in Kind::ALL {
        let proxy = proxy(kind, Setting::Documented, &broker).await?;
        for version in HTTP_VERSIONS {
            let mut stream = super::open(&proxy, version).await?;
            let key = format!("{kind:?}-{version:?}");
            for duplicate in [false, true] {
                let publish = Publish::new(key.clone()).key(&key);
                let answer = publish.send(&client(version), &proxy.url(EVENTS)).await?;
                ensure!(answer.json["duplicate"] == duplicate, "{key}: {}", answer.json);
            }
            let read = stream.data().await?;
            ensure!(read == key, "{read}");
        }
    }
    Ok(())
}
