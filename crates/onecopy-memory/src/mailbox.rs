//! A queue inside one process whose owner has better things to do than to lock it: it looks at a version number on
//! each of its own rounds, takes the contents only when that has moved, and can sleep on it beside its rings.

use crate::sync::{AtomicU64, Futex, Mutex, Ordering, lock};

/// Things that one thread posts for another.
///
/// ```
/// let mailbox = onecopy_memory::mailbox::Mailbox::default();
/// let mut seen = 0;
/// assert!(!mailbox.has_news(seen));
/// mailbox.post("a publisher came");
/// assert_eq!(mailbox.take(&mut seen), ["a publisher came"]);
/// ```
#[derive(Debug)]
pub struct Mailbox<T> {
    version: AtomicU64,
    posts: Mutex<Vec<T>>,
    posted: Futex,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { version: AtomicU64::new(0), posts: Mutex::new(Vec::new()), posted: Futex::default() }
    }
}

impl<T> Mailbox<T> {
    /// Adds `post` and wakes the owner.
    pub fn post(&self, post: T) {
        {
            let mut posts = lock(&self.posts);
            posts.push(post);
            // Release: pairs with the acquire in `has_news`. Inside the lock, so that who sees the version
            // and takes the lock finds the post.
            self.version.fetch_add(1, Ordering::Release);
        }
        self.posted.bump_and_wake();
    }

    /// Whether something was posted since the [`Self::take`] that left `seen`.
    #[inline]
    pub fn has_news(&self, seen: u64) -> bool {
        self.version.load(Ordering::Acquire) != seen
    }

    /// Everything posted and not taken yet, oldest first.
    pub fn take(&self, seen: &mut u64) -> Vec<T> {
        let mut posts = lock(&self.posts);
        *seen = self.version.load(Ordering::Relaxed);
        std::mem::take(&mut posts)
    }

    /// Changes with each post. Read its value before [`Self::has_news`], then sleep on it.
    ///
    /// ```
    /// use onecopy_memory::{mailbox::Mailbox, wait::wait};
    ///
    /// let (mailbox, mut seen) = (Mailbox::default(), 0);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| mailbox.post("a publisher came"));
    ///     loop {
    ///         let value = mailbox.posted().value();
    ///         if mailbox.has_news(seen) {
    ///             break;
    ///         }
    ///         wait(mailbox.posted(), value, None);
    ///     }
    /// });
    /// assert_eq!(mailbox.take(&mut seen), ["a publisher came"]);
    /// ```
    pub fn posted(&self) -> &Futex {
        &self.posted
    }
}
