//! Divides the memory of all tails among the attached logs. Pure.

/// The fewest logs that the memory is divided for.
const MIN_LOGS: usize = 4;

/// The number of logs among which the memory is divided. It changes in steps of a quarter, because each change resizes all tails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TailShares(usize);

impl Default for TailShares {
    fn default() -> Self {
        Self(MIN_LOGS)
    }
}

impl TailShares {
    /// The number of logs among which the memory is divided, at least as many as are attached.
    pub(crate) fn logs(self) -> usize {
        self.0
    }

    /// Updates the shares for `attached` logs. Returns whether they have changed.
    pub(crate) fn update(&mut self, attached: usize) -> bool {
        let before = *self;
        // The number increases at once. It decreases only if it would still be sufficient for a quarter more logs than are attached.
        self.0 = self.0.max(step(attached)).min(step(attached + attached / 4).max(step(attached)));
        *self != before
    }
}

/// The lowest step that is at least `logs`.
fn step(logs: usize) -> usize {
    let mut step = MIN_LOGS;
    while step < logs {
        step += step / 4;
    }
    step
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_few_logs_more_or_fewer_change_nothing() {
        let mut shares = TailShares::default();
        assert!(!shares.update(4));
        assert!(shares.update(100));
        let divided = shares.logs();
        for attached in [99, 100, 95, divided, 90] {
            assert!(!shares.update(attached), "{attached}");
        }
        assert!(shares.update(60));
        assert!(!shares.update(61));
    }

    proptest! {
        #[test]
        fn the_memory_suffices_and_is_not_left_unused(counts in proptest::collection::vec(0usize..20_000, 1..50)) {
            let mut shares = TailShares::default();
            for attached in counts {
                shares.update(attached);
                prop_assert!(shares.logs() >= attached);
                prop_assert!(shares.logs() <= (attached * 2).max(MIN_LOGS), "{} for {}", shares.logs(), attached);
            }
        }
    }
}
