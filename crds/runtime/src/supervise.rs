//! Supervision of critical tasks.
//!
//! If a detached task panics, the process looks healthy but does only a part of its work. A supervised task has a name, and its
//! first failure makes [`Supervisor::failed`] return. The program then drains as far as possible and exits with
//! [`EXIT_FAILED`](crate::program::EXIT_FAILED), so that the kubelet restarts it.

use std::{
    any::Any,
    borrow::Cow,
    fmt::Display,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    thread,
};

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Chain, fault};

/// A critical task that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{task} failed: {why}")]
pub struct TaskFailed {
    /// The name of the task.
    pub task: Cow<'static, str>,
    /// The error, or the message of the panic.
    pub why: String,
}

/// The output of a supervised task.
pub trait TaskOutput {
    /// The failure in this output, if any.
    fn failure(self) -> Option<String>;
}

impl TaskOutput for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: std::error::Error + 'static> TaskOutput for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| Chain(&error).to_string())
    }
}

impl<T: TaskOutput> TaskOutput for Option<T> {
    fn failure(self) -> Option<String> {
        self.and_then(TaskOutput::failure)
    }
}

/// Supervises the critical tasks of a program. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Arc<State>);

#[derive(Debug, Default)]
struct State {
    first: OnceLock<TaskFailed>,
    failed: CancellationToken,
}

impl Supervisor {
    /// Spawns a task that must not end before `until` is cancelled. The future itself must end then.
    pub fn spawn<F>(
        &self,
        task: impl Into<Cow<'static, str>>,
        until: &CancellationToken,
        future: F,
    ) -> JoinHandle<()>
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        let (supervisor, task, until) = (self.clone(), task.into(), until.clone());
        // On the heap: each of the futures around it would have room for it twice.
        let future = Box::pin(future);
        tokio::spawn(async move {
            if supervisor.catch(task.clone(), future).await.is_some() && !until.is_cancelled() {
                supervisor.fail(task, "it ended unexpectedly");
            }
        })
    }

    /// Spawns a task that may end at any time, but not with an error or a panic.
    pub fn spawn_once<F>(&self, task: impl Into<Cow<'static, str>>, future: F) -> JoinHandle<()>
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        let (supervisor, task) = (self.clone(), task.into());
        let future = Box::pin(future);
        tokio::spawn(async move {
            supervisor.catch(task, future).await;
        })
    }

    /// Spawns a thread that may end at any time, but not with an error or a panic.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub fn thread<T: TaskOutput>(
        &self,
        task: impl Into<Cow<'static, str>>,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<()> {
        let (supervisor, task) = (self.clone(), task.into());
        let builder = thread::Builder::new().name(task.clone().into_owned());
        builder.spawn(move || {
            match catch_unwind(AssertUnwindSafe(run)).map(TaskOutput::failure) {
                Ok(None) => {}
                Ok(Some(why)) => supervisor.fail(task, why),
                Err(panic) => supervisor.fail(task, panicked(&*panic)),
            }
        })?;
        Ok(())
    }

    /// Awaits `future`. Returns `None` if it failed, after noting the failure.
    pub async fn catch<F: Future<Output: TaskOutput>>(
        &self,
        task: impl Into<Cow<'static, str>>,
        future: F,
    ) -> Option<()> {
        let task = task.into();
        let injected = fault::inject(task.clone(), future);
        let failure = match AssertUnwindSafe(injected).catch_unwind().await.map(TaskOutput::failure)
        {
            Ok(failure) => failure,
            Err(panic) => Some(panicked(&*panic)),
        };
        match failure {
            None => Some(()),
            Some(why) => {
                self.fail(task, why);
                None
            }
        }
    }

    /// Notes a failure. Only the first one is kept.
    pub fn fail(&self, task: impl Into<Cow<'static, str>>, why: impl Display) {
        let failure = TaskFailed { task: task.into(), why: why.to_string() };
        tracing::error!(task = %failure.task, reason = failure.why, "a critical task failed; shutting down");
        // Later failures are most likely consequences of the first.
        drop(self.0.first.set(failure));
        self.0.failed.cancel();
    }

    /// The first failure, if any.
    #[must_use]
    pub fn failure(&self) -> Option<TaskFailed> {
        self.0.first.get().cloned()
    }

    /// Waits for the first failure.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn failed(&self) -> TaskFailed {
        loop {
            self.0.failed.cancelled().await;
            if let Some(failure) = self.failure() {
                return failure;
            }
        }
    }
}

/// Describes a panic.
#[must_use]
pub fn panicked(panic: &(dyn Any + Send)) -> String {
    format!("it panicked: {}", message(panic))
}

pub(crate) fn message(panic: &dyn Any) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(task: &'static str, why: &str) -> TaskFailed {
        TaskFailed { task: task.into(), why: why.into() }
    }

    fn panics(text: &str) {
        panic!("{text}");
    }

    #[tokio::test]
    async fn a_panic_an_error_and_an_early_end_are_failures() {
        let until = CancellationToken::new();
        let of = Supervisor::default();
        of.spawn("a", &until, async { panics("for once") });
        assert_eq!(of.failed().await, failure("a", "it panicked: for once"));

        let of = Supervisor::default();
        of.spawn("b", &until, async { Err::<(), _>(io::Error::other("no more")) });
        assert_eq!(of.failed().await, failure("b", "no more"));

        let of = Supervisor::default();
        of.spawn("c", &until, async {});
        assert_eq!(of.failed().await, failure("c", "it ended unexpectedly"));

        let of = Supervisor::default();
        of.thread("d", || panics("there")).unwrap();
        assert_eq!(of.failed().await, failure("d", "it panicked: there"));
    }

    #[tokio::test]
    async fn a_requested_end_is_no_failure_and_the_first_failure_is_kept() {
        let until = CancellationToken::new();
        let of = Supervisor::default();
        let ends = until.clone().cancelled_owned();
        let task = of.spawn("a", &until, ends);
        until.cancel();
        task.await.unwrap();
        of.spawn_once("b", async {}).await.unwrap();
        assert_eq!(of.failure(), None);
        of.fail("c", "first");
        of.fail("d", "second");
        assert_eq!(of.failure(), Some(failure("c", "first")));
    }
}
