//! The thorough check, for a few operations: the search of Wing and Gong, with Lowe's memory of where it has
//! been. It knows nothing of versions but what the region does with them, and so says whether the quick check
//! is right.

use std::collections::HashSet;

use super::{Operation, Outcome};

/// Whether some order that respects time leads through states in which each operation gives what it gave.
///
/// # Panics
///
/// With more than 64 operations.
pub(crate) fn is_linearizable(first: (u64, u64), history: &[Operation]) -> bool {
    assert!(history.len() <= 64, "the search takes a set of operations as a word");
    let all = if history.len() == 64 { u64::MAX } else { (1 << history.len()) - 1 };
    search(first, all, history, &mut HashSet::new())
}

fn search(
    state: (u64, u64),
    left: u64,
    history: &[Operation],
    been_there: &mut HashSet<(u64, (u64, u64))>,
) -> bool {
    if left == 0 {
        return true;
    }
    if !been_there.insert((left, state)) {
        return false;
    }
    let is_left = |index: &usize| left & 1 << index != 0;
    let first_response = (0..history.len()).filter(is_left).map(|index| history[index].responded_ns).min();
    (0..history.len()).filter(is_left).any(|index| {
        // Not after anybody who is still to come.
        Some(history[index].invoked_ns) <= first_response
            && step(state, history[index].outcome)
                .is_some_and(|next| search(next, left & !(1 << index), history, been_there))
    })
}

/// The state after the operation, if it gives what it gave.
fn step((version, value): (u64, u64), outcome: Outcome) -> Option<(u64, u64)> {
    let (is_right, next) = match outcome {
        Outcome::Read { version: found, value: seen } => {
            ((found, seen) == (version, value), (version, value))
        }
        Outcome::Wrote { version: made, value: new } => (made == version + 1, (made, new)),
        Outcome::Updated { version: made, before, value: new } => {
            (made == version + 1 && before == value, (made, new))
        }
        Outcome::Set { version: made, expected, value: new } => {
            (expected == version && made == version + 1, (made, new))
        }
        Outcome::Conflict { version: found, expected } => {
            (found == version && expected != version, (version, value))
        }
    };
    is_right.then_some(next)
}
