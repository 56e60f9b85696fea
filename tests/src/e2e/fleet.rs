//! The Deployments of brokers of many channels, watched all the time: how far a rollout is, and how much of it was under way at once.

use std::{collections::HashMap, process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

use super::Cluster;
use crate::eventually;

/// What kubectl prints of a Deployment whenever it changes.
const LINE: &str = "jsonpath={.metadata.name},{.metadata.generation},{.status.observedGeneration},{.spec.replicas},{.status.replicas},\
                    {.status.updatedReplicas},{.status.availableReplicas},{.spec.template.spec.containers[0].image}{\"\\n\"}";

/// A Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Deployment {
    desired: usize,
    available: usize,
    /// Whether all its pods, and no others, are those of the present template.
    is_complete: bool,
    image: String,
}

impl Deployment {
    /// Its name, and itself.
    fn parse(line: &str) -> Result<(String, Self)> {
        let parts: Vec<_> = line.trim().split(',').collect();
        let [name, numbers @ .., image] = &parts[..] else {
            anyhow::bail!("no Deployment: {line}")
        };
        // A number that is zero is left out.
        let numbers: Vec<usize> = numbers
            .iter()
            .map(|text| if text.is_empty() { Ok(0) } else { text.parse() })
            .collect::<Result<_, _>>()?;
        let [generation, observed, desired, replicas, updated, available] = numbers[..] else {
            anyhow::bail!("no Deployment: {line}")
        };
        let is_complete = observed >= generation
            && updated >= desired
            && available >= desired
            && replicas <= updated;
        let image = (*image).to_owned();
        Ok(((*name).to_owned(), Self { desired, available, is_complete, image }))
    }
}

/// What was seen of all of them.
#[derive(Debug, Default)]
struct Seen {
    deployments: HashMap<String, Deployment>,
    /// The image of the rollout that is counted.
    image: String,
    most: Peak,
}

/// The most that there was of something at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// Channels whose brokers were being replaced.
    pub rolling: usize,
    /// Brokers that were wanted and not available.
    pub unavailable: usize,
}

impl Seen {
    fn take(&mut self, line: &str) -> Result<()> {
        let (name, deployment) = Deployment::parse(line)?;
        self.deployments.insert(name, deployment);
        if !self.image.is_empty() {
            let all = || self.deployments.values();
            let rolling = all().filter(|d| d.image == self.image && !d.is_complete).count();
            let unavailable = all().map(|d| d.desired.saturating_sub(d.available)).sum();
            self.most.rolling = self.most.rolling.max(rolling);
            self.most.unavailable = self.most.unavailable.max(unavailable);
        }
        Ok(())
    }

    /// How many are complete, with images that end in this way.
    fn complete(&self, image: &str) -> usize {
        self.deployments.values().filter(|d| d.is_complete && d.image.ends_with(image)).count()
    }
}

/// Watches the Deployments of brokers of a namespace until it is dropped.
#[derive(Debug)]
pub struct Fleet {
    seen: Arc<Mutex<Seen>>,
    reading: JoinHandle<Result<()>>,
    _kubectl: Child,
}

impl Fleet {
    /// Begins.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub fn watch(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let mut command = Command::new(&cluster.kubectl);
        command.args(["-n", namespace, "get", "deployments", "--watch", "-o", LINE]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut kubectl = command.spawn()?;
        let mut lines = BufReader::new(kubectl.stdout.take().context("no output")?).lines();
        let seen = Arc::<Mutex<Seen>>::default();
        let to = seen.clone();
        let reading = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await? {
                to.lock().take(&line)?;
            }
            Ok(())
        });
        Ok(Self { seen, reading, _kubectl: kubectl })
    }

    /// Counts from now on what is under way at once for the rollout of `image`.
    pub fn count(&self, image: &str) {
        let mut seen = self.seen.lock();
        image.clone_into(&mut seen.image);
        seen.most = Peak::default();
    }

    /// The most that was under way at once.
    #[must_use]
    pub fn most(&self) -> Peak {
        self.seen.lock().most
    }

    /// Waits until `count` Deployments are complete with images that end with `image`.
    ///
    /// # Errors
    /// When they are not in time, or kubectl has ended.
    pub async fn complete(&self, count: usize, image: &str, within: Duration) -> Result<()> {
        eventually(&format!("{count} Deployments are complete"), within, || async {
            let complete = self.seen.lock().complete(image);
            ensure!(!self.reading.is_finished(), "kubectl has ended; {complete} were complete");
            ensure!(complete >= count, "{complete} are");
            anyhow::Ok(())
        })
        .await
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_at_once_is_counted() {
        let mut seen = Seen { image: "broker:2".to_owned(), ..Seen::default() };
        for line in [
            "a,1,1,2,2,2,2,broker:1",
            "b,1,1,1,1,1,1,broker:1",
            "a,2,1,2,2,2,2,broker:2", // not yet seen by the controller
            "a,2,2,2,4,2,2,broker:2",
            "b,2,2,1,1,1,,broker:2", // none is available
            "b,2,2,1,1,1,1,broker:2",
        ] {
            seen.take(line).unwrap();
        }
        assert_eq!(seen.most, Peak { rolling: 2, unavailable: 1 });
        assert_eq!((seen.complete(":1"), seen.complete(":2")), (0, 1));
        seen.take("a,2,2,2,2,2,2,broker:2").unwrap();
        assert_eq!(seen.complete(":2"), 2);
        assert!(seen.take("a,2").is_err());
    }
}
