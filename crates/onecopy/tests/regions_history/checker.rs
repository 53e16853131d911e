//! The quick check, for histories of any length: sorting, and one pass.
//!
//! Linearizability is hard to check in general because one has to search for the order of the writes. Here every
//! operation says which version it made or found, so there is nothing to search for. Call an operation that made
//! version `v` the *maker* of `v`, any other that gave `v` an *observer* of `v`, and give the former the key
//! `(v, 0)`, the latter `(v, 1)`. A history of completed operations is linearizable exactly if
//!
//! 1. every version from the first to the highest that anyone gave has one maker (the first: the creation);
//! 2. whoever saw a value saw what the maker of that version wrote: a read that of its own version, an update and a
//!    `compare_and_set` that of the version before; a `compare_and_set` expected just that version, a conflict another;
//! 3. if `a` responded before `b` was invoked, then `key(a) <= key(b)`.
//!
//! *Necessary:* take a linearization. The region's version never falls, and only its makers raise it, by one
//! each: 1. Each operation acts on the state there: 2. After the maker of `v` and until that of `v + 1` come
//! the observers of `v` and nobody else, so keys never fall along the linearization; it keeps the order of
//! `a` and `b`: 3.
//!
//! *Sufficient:* sort by key, and by time of invocation where keys are equal, which is between observers of one version
//! only (1). If `a` responded before `b` was invoked then its key is not higher (3), and if the keys are equal it was
//! invoked earlier: so the order respects time. Executed in this order, each operation finds the state that it reports:
//! by induction the version before the maker of `v` is `v - 1` (1), and the values are right (2).

use std::collections::BTreeMap;

use super::{Operation, Outcome};

/// Whether a region that began as `first` (version and value) could have gone through this; why not, if not.
pub(crate) fn check(first: (u64, u64), history: &[Operation]) -> Result<(), String> {
    let values = check_makers(first, history)?;
    for operation in history {
        check_values(&values, operation)?;
    }
    check_times(history)
}

/// Rule 1; gives the value of each version.
fn check_makers(first: (u64, u64), history: &[Operation]) -> Result<BTreeMap<u64, u64>, String> {
    let mut values = BTreeMap::from([first]);
    for operation in history {
        let version = operation.outcome.version();
        if let Some(value) = operation.outcome.made()
            && values.insert(version, value).is_some()
        {
            return Err(format!("version {version} was made twice, the second time by {operation:?}"));
        }
    }
    let highest = history.iter().map(|operation| operation.outcome.version()).max().unwrap_or(first.0);
    if let Some(missing) = (first.0..=highest).find(|version| !values.contains_key(version)) {
        return Err(format!("nobody made version {missing}"));
    }
    match values.first_key_value() {
        Some((lowest, _)) if *lowest < first.0 => Err(format!("version {lowest} is before the first")),
        _ => Ok(values),
    }
}

/// Rule 2.
fn check_values(values: &BTreeMap<u64, u64>, operation: &Operation) -> Result<(), String> {
    let is_right = match operation.outcome {
        Outcome::Read { version, value } => values.get(&version) == Some(&value),
        Outcome::Wrote { .. } => true,
        Outcome::Updated { version, before, .. } => values.get(&(version - 1)) == Some(&before),
        Outcome::Set { version, expected, .. } => expected == version - 1,
        Outcome::Conflict { version, expected } => version != expected && values.contains_key(&version),
    };
    if is_right { Ok(()) } else { Err(format!("it saw what was not there: {operation:?}")) }
}

/// Rule 3, in the order of invocations: nobody's key is below the highest of those who had responded.
fn check_times(history: &[Operation]) -> Result<(), String> {
    let mut by_response: Vec<&Operation> = history.iter().collect();
    by_response.sort_by_key(|operation| operation.responded_ns);
    let mut by_invocation = by_response.clone();
    by_invocation.sort_by_key(|operation| operation.invoked_ns);
    let mut responded = by_response.into_iter().peekable();
    let mut highest: Option<&Operation> = None;
    for operation in by_invocation {
        while let Some(earlier) = responded.next_if(|earlier| earlier.responded_ns < operation.invoked_ns) {
            if highest.is_none_or(|highest| key(highest) < key(earlier)) {
                highest = Some(earlier);
            }
        }
        if let Some(earlier) = highest
            && key(earlier) > key(operation)
        {
            return Err(format!("{operation:?} was made after {earlier:?} and comes before it"));
        }
    }
    Ok(())
}

fn key(operation: &Operation) -> (u64, bool) {
    (operation.outcome.version(), operation.outcome.made().is_none())
}
