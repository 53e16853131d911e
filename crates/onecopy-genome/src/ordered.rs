//! Work done by several threads, whose results come in the order in which the work was taken. A fixed amount is under way at
//! any time, so memory does not depend on how much there is; and an error is the first one in that order, so it is the
//! same for any number of threads.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use crate::error::GenomeError;

/// Pieces of work under way for each thread: enough that a slow one does not stop the others at once.
const PIECES_PER_THREAD: u64 = 8;

/// Takes work until there is none, has `work` done on any of the threads, each with what `start` gave it, and consumes
/// the results on this one.
pub(crate) fn run<Piece: Send, Done: Send, Worker>(
    threads: NonZero<usize>,
    take: impl FnMut() -> Result<Option<Piece>, GenomeError> + Send,
    start: impl Fn() -> Result<Worker, GenomeError> + Sync,
    work: impl Fn(&mut Worker, Piece) -> Result<Done, GenomeError> + Sync,
    mut consume: impl FnMut(Done) -> Result<(), GenomeError>,
) -> Result<(), GenomeError> {
    let queue = Queue::new(take, PIECES_PER_THREAD * threads.get() as u64);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.get() {
            let (sender, queue, start, work) = (sender.clone(), &queue, &start, &work);
            scope.spawn(move || {
                let _stop = StopOnPanic(queue);
                let mut worker = None;
                while let Some((number, piece)) = queue.next() {
                    let done = piece.and_then(|piece| {
                        let worker = match &mut worker {
                            Some(worker) => worker,
                            none => none.insert(start()?),
                        };
                        work(worker, piece)
                    });
                    if sender.send((number, done)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let outcome = in_order(receiver, |done| {
            consume(done)?;
            queue.consumed();
            Ok(())
        });
        queue.stop();
        outcome
    })
}

fn in_order<Done>(
    receiver: mpsc::Receiver<(u64, Result<Done, GenomeError>)>,
    mut consume: impl FnMut(Done) -> Result<(), GenomeError>,
) -> Result<(), GenomeError> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for (number, done) in receiver {
        early.insert(number, done);
        while let Some(done) = early.remove(&next) {
            consume(done?)?;
            next += 1;
        }
    }
    Ok(())
}

/// Where threads get their work.
struct Queue<Take> {
    state: Mutex<State<Take>>,
    /// Something was consumed, or there is no use in waiting.
    moved: Condvar,
    window: u64,
}

struct State<Take> {
    take: Take,
    taken: u64,
    consumed: u64,
    stopped: bool,
}

impl<Take> Queue<Take> {
    fn new(take: Take, window: u64) -> Self {
        let state = State { take, taken: 0, consumed: 0, stopped: false };
        Self { state: Mutex::new(state), moved: Condvar::new(), window }
    }

    fn lock(&self) -> MutexGuard<'_, State<Take>> {
        // Whoever panics takes the scope along; nothing is read of what it may have left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece with its number, or the reason why there are no more.
    fn next<Piece>(&self) -> Option<(u64, Result<Piece, GenomeError>)>
    where
        Take: FnMut() -> Result<Option<Piece>, GenomeError>,
    {
        let mut state = self.lock();
        while !state.stopped && state.taken - state.consumed >= self.window {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return None;
        }
        let piece = (state.take)().transpose();
        state.stopped = !matches!(piece, Some(Ok(_)));
        let number = state.taken;
        state.taken += 1;
        Some((number, piece?))
    }

    fn consumed(&self) {
        self.lock().consumed += 1;
        self.moved.notify_one();
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.moved.notify_all();
    }
}

/// Without this, a thread that panics would leave the others waiting for what it never finishes.
struct StopOnPanic<'a, Take>(&'a Queue<Take>);

impl<Take> Drop for StopOnPanic<'_, Take> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(threads: usize, fail_at: u64) -> (Vec<u64>, Result<(), String>) {
        let mut next = 0;
        let mut seen = Vec::new();
        let outcome = run(
            NonZero::new(threads).unwrap(),
            || {
                next += 1;
                Ok((next <= 500).then_some(next))
            },
            || Ok(()),
            |(), number| {
                // Uneven, so that they overtake each other.
                let spun =
                    (0..number * 7919 % 1000).fold(number, |sum, step| std::hint::black_box(sum ^ step));
                std::hint::black_box(spun);
                match number < fail_at {
                    true => Ok(number),
                    false => Err(GenomeError::Changed { path: number.to_string().into() }),
                }
            },
            |number| {
                seen.push(number);
                Ok(())
            },
        );
        (seen, outcome.map_err(|error| error.to_string()))
    }

    #[test]
    fn results_come_in_order() {
        for threads in [1, 2, 7] {
            let (seen, outcome) = numbers(threads, u64::MAX);
            assert!(seen.into_iter().eq(1..=500), "{threads}");
            assert_eq!(outcome, Ok(()));
        }
    }

    #[test]
    fn the_first_error_is_the_one_told() {
        for threads in [1, 2, 7] {
            let (seen, outcome) = numbers(threads, 123);
            assert!(seen.into_iter().eq(1..=122), "{threads}");
            assert!(outcome.unwrap_err().starts_with("123 was changed"));
        }
    }

    #[test]
    #[should_panic(expected = "scoped thread")]
    fn a_panic_ends_everything() {
        let endless = || Ok(Some(()));
        let work = |(): &mut (), ()| -> Result<(), GenomeError> { panic!("on purpose") };
        let _ = run(NonZero::new(3).unwrap(), endless, || Ok(()), work, |()| Ok(()));
    }
}
