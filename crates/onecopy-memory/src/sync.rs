//! The one place that knows whether the code runs for real or under the model checker. Everything else takes its
//! atomics, barriers and futexes from here, so that loom explores the very code that ships.
//!
//! Two facts shape this file. A load from memory that is mapped read-only may only be `Relaxed` (the standard
//! library promises no more), so peers' memory is read through [`load_acquire`]. And the costly half of a
//! store→load barrier belongs on the rare side: see [`Barrier`].

#[cfg(loom)]
pub use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
pub use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
};

/// Acquire load that is sound on memory mapped read-only: a relaxed load, then an acquire fence.
///
/// ```
/// use onecopy_memory::sync::{AtomicU64, Ordering, load_acquire};
///
/// let sequence = AtomicU64::new(0);
/// sequence.store(1, Ordering::Release);
/// assert_eq!(load_acquire(&sequence), 1);
/// ```
#[inline]
pub fn load_acquire(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// Takes a mutex whose holders keep its contents whole even when they panic.
///
/// ```
/// use onecopy_memory::sync::{Mutex, lock};
///
/// let count = Mutex::new(1);
/// let broken_off = || {
///     let _held = lock(&count);
///     panic!("while it is held");
/// };
/// std::thread::scope(|scope| scope.spawn(broken_off).join()).expect_err("it panicked");
/// assert!(count.is_poisoned());
/// assert_eq!(*lock(&count), 1);
/// ```
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How a store is kept in front of a later load on the frequent side of a two-sided handshake.
///
/// Such a handshake has each side store its own word and then load the other's; at least one of them must see the
/// other's store. That needs a full barrier on both sides, but the barrier of the frequent side can be lent to it by
/// the rare side: `membarrier(2)` makes every running thread of the registered processes execute one. The frequent
/// side is then left with a compiler fence (the idea is that of RCU's `sys_membarrier` users and of asymmetric
/// fences in hazard-pointer libraries).
///
/// See [`light`](Self::light) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// The rare side uses `membarrier`; the frequent side pays nothing.
    Asymmetric,
    /// No `membarrier` on one of the two sides: both execute a full fence.
    Full,
}

impl Barrier {
    /// The frequent side's barrier, between its store and its load.
    ///
    /// ```
    /// use onecopy_memory::sync::{AtomicBool, Barrier, Ordering, heavy_barrier};
    ///
    /// static FREQUENT: AtomicBool = AtomicBool::new(false);
    /// static RARE: AtomicBool = AtomicBool::new(false);
    ///
    /// /// Whether the frequent side saw the other.
    /// fn frequent() -> bool {
    ///     FREQUENT.store(true, Ordering::Relaxed);
    ///     Barrier::Full.light();
    ///     RARE.load(Ordering::Relaxed)
    /// }
    ///
    /// /// Whether the rare side saw the other.
    /// fn rare() -> bool {
    ///     RARE.store(true, Ordering::Relaxed);
    ///     heavy_barrier();
    ///     FREQUENT.load(Ordering::Relaxed)
    /// }
    ///
    /// let other = std::thread::spawn(rare);
    /// let seen = frequent();
    /// // At least one of them did.
    /// assert!(seen | other.join().expect("it does not panic"));
    /// ```
    #[inline]
    pub fn light(self) {
        #[cfg(not(loom))]
        match self {
            Self::Asymmetric => std::sync::atomic::compiler_fence(Ordering::SeqCst),
            Self::Full => fence(Ordering::SeqCst),
        }
        // loom knows no membarrier: the pair (membarrier, compiler fence) is modelled as two full fences, which is
        // what the kernel promises of it.
        #[cfg(loom)]
        if !COMPILER_FENCE_ONLY.get() {
            fence(Ordering::SeqCst);
        }
    }
}

#[cfg(loom)]
std::thread_local! {
    /// Makes [`Barrier::light`] no fence at all, for models of what has to hold without a heavy barrier. (loom runs all
    /// threads of a model on one thread of the system.)
    pub static COMPILER_FENCE_ONLY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A full barrier, for handshakes whose two sides are about as frequent.
///
/// ```
/// use onecopy_memory::sync::{AtomicBool, Ordering, full_barrier};
///
/// let (one, other) = (AtomicBool::new(false), AtomicBool::new(false));
/// let greet = |own: &AtomicBool, theirs: &AtomicBool| {
///     own.store(true, Ordering::Relaxed);
///     full_barrier();
///     theirs.load(Ordering::Relaxed)
/// };
/// let (first, second) = std::thread::scope(|scope| {
///     let thread = scope.spawn(|| greet(&one, &other));
///     (greet(&other, &one), thread.join().expect("it does not panic"))
/// });
/// // At least one of them saw the other.
/// assert!(first | second);
/// ```
#[inline]
pub fn full_barrier() {
    fence(Ordering::SeqCst);
}

/// The rare side's barrier: pairs with every [`Barrier::light`], whichever kind the other side chose.
///
/// See [`Barrier::light`] for an example.
pub fn heavy_barrier() {
    fence(Ordering::SeqCst);
    #[cfg(not(loom))]
    crate::kernel::membarrier();
}

pub use futex::Futex;
#[cfg(loom)]
pub use futex::wait_any;

#[cfg(not(loom))]
mod futex {
    use super::{AtomicU32, Ordering};
    use rustix::thread::futex;

    /// A 32-bit word that threads of any process can sleep on while it keeps its value.
    ///
    /// See [`wait`](crate::wait::wait) for an example.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct Futex(AtomicU32);

    impl Futex {
        /// The value to pass to a later wait.
        #[inline]
        pub fn value(&self) -> u32 {
            let value = self.0.load(Ordering::Relaxed);
            // Pairs with the release in `bump_and_wake`: whoever sees the new value sees what was stored before it.
            super::fence(Ordering::Acquire);
            value
        }

        /// Changes the value and wakes everyone who sleeps on it. Only threads of the process that owns the
        /// word may call this.
        ///
        /// See [`wait`](crate::wait::wait) for an example.
        pub fn bump_and_wake(&self) {
            self.0.fetch_add(1, Ordering::Release);
            self.wake();
        }

        /// Wakes everyone without changing the value. Works on a read-only mapping.
        ///
        /// ```
        /// use onecopy_memory::sync::{AtomicBool, Futex, Ordering};
        /// use onecopy_memory::wait::wait;
        ///
        /// let (futex, is_over) = (Futex::default(), AtomicBool::new(false));
        /// std::thread::scope(|scope| {
        ///     let sleeper = scope.spawn(|| {
        ///         while !is_over.load(Ordering::Relaxed) {
        ///             wait(&futex, 0, None);
        ///         }
        ///     });
        ///     is_over.store(true, Ordering::Relaxed);
        ///     // It may have looked before, and not be asleep yet: nothing would keep it from that.
        ///     while !sleeper.is_finished() {
        ///         futex.wake();
        ///         std::thread::yield_now();
        ///     }
        /// });
        /// assert_eq!(futex.value(), 0);
        /// ```
        pub fn wake(&self) {
            // The kernel can only refuse an address that is not mapped, and `self` is.
            let _ = futex::wake(&self.0, futex::Flags::empty(), i32::MAX as u32);
        }

        /// Wakes one of those who sleep on it.
        pub(crate) fn wake_one(&self) {
            let _ = futex::wake(&self.0, futex::Flags::empty(), 1);
        }

        pub(crate) fn word(&self) -> &AtomicU32 {
            &self.0
        }
    }
}

#[cfg(loom)]
mod futex {
    use super::{AtomicU32, Mutex, Ordering};
    use loom::sync::Condvar;

    loom::lazy_static! {
        /// All sleepers. The comparison and the going to sleep are one step under a lock that a waker takes too, which
        /// is how the kernel's hash bucket behaves.
        static ref BUCKET: Mutex<Vec<Sleeper>> = Mutex::new(Vec::new());
        static ref WOKEN: Condvar = Condvar::new();
    }

    struct Sleeper {
        thread: loom::thread::ThreadId,
        futexes: Vec<usize>,
        woken: bool,
    }

    /// The kernel's futex as loom sees it.
    #[derive(Debug, Default)]
    pub struct Futex(AtomicU32);

    impl Futex {
        /// The value to pass to a later wait.
        pub fn value(&self) -> u32 {
            self.0.load(Ordering::Acquire)
        }

        /// Changes the value and wakes everyone who sleeps on it.
        pub fn bump_and_wake(&self) {
            self.0.fetch_add(1, Ordering::Release);
            self.wake();
        }

        /// Wakes everyone without changing the value.
        pub fn wake(&self) {
            let mut bucket = super::lock(&BUCKET);
            for sleeper in bucket.iter_mut().filter(|sleeper| sleeper.futexes.contains(&self.address())) {
                sleeper.woken = true;
            }
            WOKEN.notify_all();
        }

        /// Wakes one of those who sleep on it.
        pub(crate) fn wake_one(&self) {
            let mut bucket = super::lock(&BUCKET);
            let asleep = |sleeper: &&mut Sleeper| !sleeper.woken && sleeper.futexes.contains(&self.address());
            if let Some(sleeper) = bucket.iter_mut().find(asleep) {
                sleeper.woken = true;
            }
            WOKEN.notify_all();
        }

        pub(crate) fn word(&self) -> &AtomicU32 {
            &self.0
        }

        /// Sleeps while the word is `expected`.
        pub fn wait(&self, expected: u32) {
            wait_any(&[(self, expected)]);
        }

        fn address(&self) -> usize {
            std::ptr::from_ref(self).addr()
        }
    }

    /// Sleeps while every futex has the value that stands beside it.
    pub fn wait_any(futexes: &[(&Futex, u32)]) {
        let mut bucket = super::lock(&BUCKET);
        if futexes.iter().any(|(futex, expected)| futex.0.load(Ordering::Relaxed) != *expected) {
            return;
        }
        let thread = loom::thread::current().id();
        let futexes = futexes.iter().map(|(futex, _)| futex.address()).collect();
        bucket.push(Sleeper { thread, futexes, woken: false });
        loop {
            bucket = WOKEN.wait(bucket).unwrap_or_else(std::sync::PoisonError::into_inner);
            let own = bucket.iter().position(|sleeper| sleeper.thread == thread && sleeper.woken);
            if let Some(own) = own {
                bucket.swap_remove(own);
                return;
            }
        }
    }
}
