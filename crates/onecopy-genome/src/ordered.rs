//! Work done by several threads, whose results come in the order in which the work was taken. A fixed amount
//! is under way at any time, so memory does not depend on how much there is; and an error is the first one in
//! that order, so it is the same for any number of threads.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use crate::error::GenomeError;

/// Pieces of work under way for each thread: enough that a slow one does not stop the others at once.
const PIECES_PER_THREAD: u64 = 8;

/// Takes work until there is none, has `work` done on all of the threads, each with what `start` gave it, and
/// consumes the results on this one, which is one of the threads.
pub(crate) fn run<Piece: Send, Done: Send, Worker>(
    threads: NonZero<usize>,
    take: impl FnMut() -> Result<Option<Piece>, GenomeError> + Send,
    start: impl Fn() -> Result<Worker, GenomeError> + Sync,
    work: impl Fn(&mut Worker, Piece) -> Result<Done, GenomeError> + Sync,
    mut consume: impl FnMut(Done) -> Result<(), GenomeError>,
) -> Result<(), GenomeError> {
    let queue = Queue::new(take, PIECES_PER_THREAD * threads.get() as u64);
    let do_piece = |worker: &mut Option<Worker>, piece: Result<Piece, GenomeError>| {
        let worker = match worker {
            Some(worker) => worker,
            none => none.insert(start()?),
        };
        work(worker, piece?)
    };
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 1..threads.get() {
            let (sender, queue, do_piece) = (sender.clone(), &queue, &do_piece);
            scope.spawn(move || {
                let _stop = StopOnPanic(queue);
                let mut worker = None;
                while let Next::Piece(number, piece) = queue.wait_next() {
                    if sender.send((number, do_piece(&mut worker, piece))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let _stop = StopOnPanic(&queue);
        let mut results = Results { receiver, early: BTreeMap::new(), next: 0 };
        let outcome = here(&queue, &mut results, do_piece, |done| {
            consume(done)?;
            queue.consumed();
            Ok(())
        });
        queue.stop();
        outcome
    })
}

/// What this thread does: consumes what is there, else does a piece itself, else waits for the others.
fn here<Piece, Done, Worker>(
    queue: &Queue<impl FnMut() -> Result<Option<Piece>, GenomeError>>,
    results: &mut Results<Done>,
    do_piece: impl Fn(&mut Option<Worker>, Result<Piece, GenomeError>) -> Result<Done, GenomeError>,
    mut consume: impl FnMut(Done) -> Result<(), GenomeError>,
) -> Result<(), GenomeError> {
    let mut worker = None;
    loop {
        while let Some(done) = results.next() {
            consume(done?)?;
        }
        match queue.next() {
            Next::Piece(number, piece) => {
                results.early.insert(number, do_piece(&mut worker, piece));
            }
            Next::End if results.next == queue.lock().taken => return Ok(()),
            // What comes next is with another thread. If that has panicked, the scope says so.
            Next::Later | Next::End => match results.receiver.recv() {
                Ok((number, done)) => drop(results.early.insert(number, done)),
                Err(mpsc::RecvError) => return Ok(()),
            },
        }
    }
}

/// Results as they come, and in order.
struct Results<Done> {
    receiver: mpsc::Receiver<(u64, Result<Done, GenomeError>)>,
    early: BTreeMap<u64, Result<Done, GenomeError>>,
    next: u64,
}

impl<Done> Results<Done> {
    /// The next one, if it is there.
    fn next(&mut self) -> Option<Result<Done, GenomeError>> {
        self.early.extend(self.receiver.try_iter());
        let done = self.early.remove(&self.next)?;
        self.next += 1;
        Some(done)
    }
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

/// What a thread can do next.
enum Next<Piece> {
    /// This, which has a number; or the reason why there is nothing more.
    Piece(u64, Result<Piece, GenomeError>),
    /// Nothing before something was consumed.
    Later,
    /// Nothing any more.
    End,
}

impl<Take> State<Take> {
    fn next<Piece>(&mut self, window: u64) -> Next<Piece>
    where
        Take: FnMut() -> Result<Option<Piece>, GenomeError>,
    {
        if self.stopped {
            return Next::End;
        }
        if self.taken - self.consumed >= window {
            return Next::Later;
        }
        let piece = (self.take)().transpose();
        self.stopped = !matches!(piece, Some(Ok(_)));
        let Some(piece) = piece else { return Next::End };
        let number = self.taken;
        self.taken += 1;
        Next::Piece(number, piece)
    }
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

    /// The next piece, if there is one now.
    fn next<Piece>(&self) -> Next<Piece>
    where
        Take: FnMut() -> Result<Option<Piece>, GenomeError>,
    {
        self.lock().next(self.window)
    }

    /// The next piece, as soon as there is one.
    fn wait_next<Piece>(&self) -> Next<Piece>
    where
        Take: FnMut() -> Result<Option<Piece>, GenomeError>,
    {
        let mut state = self.lock();
        loop {
            match state.next(self.window) {
                Next::Later => state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner),
                other => return other,
            }
        }
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
    #[should_panic]
    fn a_panic_ends_everything() {
        let endless = || Ok(Some(()));
        let work = |(): &mut (), ()| -> Result<(), GenomeError> { panic!("on purpose") };
        let _ = run(NonZero::new(3).unwrap(), endless, || Ok(()), work, |()| Ok(()));
    }
}
