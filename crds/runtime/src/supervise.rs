//! Supervision: what a program cannot do without runs as a named task, and the end of that task is noticed.
//!
//! A detached task that panics leaves a process that looks alive and does only a part of its work. Here the first failure is kept
//! and [`Supervisor::failed`] returns: the program then drains as far as it can and exits with
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

/// A part of the program that ended although it must not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{task} failed: {why}")]
pub struct TaskFailed {
    /// Which part.
    pub task: Cow<'static, str>,
    /// Its error, or the message of its panic.
    pub why: String,
}

/// How a supervised task ended.
pub trait Ending {
    /// Why that is a failure, if it is one whenever it happens.
    fn failure(self) -> Option<String>;
}

impl Ending for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: std::error::Error + 'static> Ending for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| Chain(&error).to_string())
    }
}

impl<T: Ending> Ending for Option<T> {
    fn failure(self) -> Option<String> {
        self.and_then(Ending::failure)
    }
}

/// Watches over the parts of one program. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Arc<State>);

#[derive(Debug, Default)]
struct State {
    first: OnceLock<TaskFailed>,
    failed: CancellationToken,
}

impl Supervisor {
    /// Runs a task that must not end before `until` is cancelled. The future sees to it that it ends then.
    pub fn spawn<F>(
        &self,
        task: impl Into<Cow<'static, str>>,
        until: &CancellationToken,
        future: F,
    ) -> JoinHandle<()>
    where
        F: Future<Output: Ending> + Send + 'static,
    {
        let (supervisor, task, until) = (self.clone(), task.into(), until.clone());
        tokio::spawn(async move {
            if supervisor.catch(task.clone(), future).await.is_some() && !until.is_cancelled() {
                supervisor.fail(task, "it ended");
            }
        })
    }

    /// Runs a task that may end at any time, but not with an error or a panic.
    pub fn spawn_once<F>(&self, task: impl Into<Cow<'static, str>>, future: F) -> JoinHandle<()>
    where
        F: Future<Output: Ending> + Send + 'static,
    {
        let (supervisor, task) = (self.clone(), task.into());
        tokio::spawn(async move {
            supervisor.catch(task, future).await;
        })
    }

    /// Runs a thread that may end at any time, but not with an error or a panic.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn thread<T: Ending>(
        &self,
        task: impl Into<Cow<'static, str>>,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<()> {
        let (supervisor, task) = (self.clone(), task.into());
        let builder = thread::Builder::new().name(task.clone().into_owned());
        builder.spawn(move || match catch_unwind(AssertUnwindSafe(run)).map(Ending::failure) {
            Ok(None) => {}
            Ok(Some(why)) => supervisor.fail(task, why),
            Err(panic) => supervisor.fail(task, panicked(&*panic)),
        })?;
        Ok(())
    }

    /// Awaits `future`; none where it failed, which is noted.
    pub async fn catch<F: Future<Output: Ending>>(
        &self,
        task: impl Into<Cow<'static, str>>,
        future: F,
    ) -> Option<()> {
        let task = task.into();
        let injected = fault::inject(task.clone(), future);
        let failure = match AssertUnwindSafe(injected).catch_unwind().await.map(Ending::failure) {
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

    /// Notes that a part of the program failed.
    pub fn fail(&self, task: impl Into<Cow<'static, str>>, why: impl Display) {
        let failure = TaskFailed { task: task.into(), why: why.to_string() };
        tracing::error!(task = %failure.task, why = failure.why, "a critical task failed: the process ends");
        // What fails after the first is a consequence of it, most likely.
        drop(self.0.first.set(failure));
        self.0.failed.cancel();
    }

    /// The first failure, once there is one.
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

/// What a panic said.
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
        assert_eq!(of.failed().await, failure("c", "it ended"));

        let of = Supervisor::default();
        of.thread("d", || panics("there")).unwrap();
        assert_eq!(of.failed().await, failure("d", "it panicked: there"));
    }

    #[tokio::test]
    async fn an_end_that_was_asked_for_is_none_and_the_first_failure_stays() {
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
