//! What the API server said about a token, and how long that is valid. Pure.

use std::sync::Arc;

use eventcast_crds::config::Action;
use tokio::time::Instant;

use super::api::ReviewedUser;

/// The actions that are asked about.
pub(super) const ACTIONS: [Action; 3] = [Action::Subscribe, Action::Publish, Action::Manage];

/// A verified token, and what its user may do.
#[derive(Clone)]
pub(super) struct Verdict {
    pub(super) user: Arc<ReviewedUser>,
    /// When the token must be verified again.
    pub(super) verified_until: Instant,
    /// For each of [`ACTIONS`]: whether it is allowed, and until when that is valid.
    actions: [Option<(bool, Instant)>; ACTIONS.len()],
}

impl Verdict {
    /// A token that was just verified. Nothing is known of its actions.
    pub(super) fn of(user: ReviewedUser, verified_until: Instant) -> Self {
        Self { user: Arc::new(user), verified_until, actions: [None; ACTIONS.len()] }
    }

    /// Whether everything is known, so that the API server need not be asked.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        now < self.verified_until && ACTIONS.iter().all(|action| !self.is_stale(*action, now))
    }

    /// Whether the action must be asked about.
    pub(super) fn is_stale(&self, action: Action, now: Instant) -> bool {
        self.actions[index(action)].is_none_or(|(_, until)| now >= until)
    }

    pub(super) fn set(&mut self, action: Action, is_allowed: bool, until: Instant) {
        self.actions[index(action)] = Some((is_allowed, until));
    }

    /// Whether the action is allowed. False if it was not asked about.
    pub(super) fn allows(&self, action: Action) -> bool {
        self.actions[index(action)].is_some_and(|(is_allowed, _)| is_allowed)
    }
}

const fn index(action: Action) -> usize {
    match action {
        Action::Subscribe => 0,
        Action::Publish => 1,
        Action::Manage => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_action_has_a_place_of_its_own_and_a_time() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let mut verdict = Verdict::of(ReviewedUser::named("a"), later(60));
        assert!(!verdict.is_complete(now), "nothing was asked");
        for (i, action) in ACTIONS.into_iter().enumerate() {
            assert_eq!(index(action), i);
            verdict.set(action, action == Action::Publish, later(10));
        }
        assert!(verdict.is_complete(now) && !verdict.is_complete(later(10)));
        assert!(verdict.allows(Action::Publish) && !verdict.allows(Action::Manage));
        verdict.set(Action::Publish, false, later(99));
        assert!(!verdict.allows(Action::Publish));
        assert!(
            verdict.is_stale(Action::Manage, later(10))
                && !verdict.is_stale(Action::Publish, later(10))
        );
        assert!(!verdict.is_complete(later(60)), "the token must be verified again");
    }
}
