//! The page that a newcomer follows in a cluster: its commands run as they stand there.

use anyhow::Result;
use eventcast_tests::{
    e2e::scenario,
    pages::{Session, follow},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn the_page_in_a_cluster() -> Result<()> {
    scenario(async |cluster| {
        cluster.remove_all().await?;
        let mut session = Session::in_cluster(&cluster.programs())?;
        follow(&mut session, "docs/start/cluster.md", "", 4).await?;
        // The brokers are reached by the port that the page has forwarded.
        follow(&mut session, "docs/start/one-machine.md", "## Subscribe", 6).await?;
        cluster.kubectl(&["delete", "evch/demo"]).await?;
        Ok(())
    })
    .await
}
