//! Event loops and shared regions. Writers of a shared region wake a futex and know nobody by name, so whoever wants a
//! descriptor instead has a thread of its own sleep on that futex, and ring.

use std::sync::Arc;
use std::thread::JoinHandle;

use onecopy_memory::region::SharedRegion;
use onecopy_memory::sync::{Futex, full_barrier};
use onecopy_memory::wait::{Doorbell, Ringer, wait};

use crate::error::WaitError;

/// Becomes readable whenever the version of a shared region moves.
pub(super) struct Bell {
    pub(super) doorbell: Doorbell,
    region: Arc<SharedRegion>,
    stop: Arc<Futex>,
    thread: Option<JoinHandle<()>>,
}

impl Bell {
    pub(super) fn new(region: &Arc<SharedRegion>) -> Result<Self, WaitError> {
        let (doorbell, ringer) = Doorbell::pair()?;
        let (region, stop) = (Arc::clone(region), Arc::new(Futex::default()));
        let thread = {
            let (region, stop) = (Arc::clone(&region), Arc::clone(&stop));
            let version = region.version();
            std::thread::Builder::new()
                .name("onecopy-watch".to_owned())
                .spawn(move || watch(&region, version, &ringer, &stop))?
        };
        Ok(Self { doorbell, region, stop, thread: Some(thread) })
    }

    /// Whether it watches this memory.
    pub(super) fn watches(&self, region: &Arc<SharedRegion>) -> bool {
        Arc::ptr_eq(&self.region, region)
    }
}

fn watch(region: &SharedRegion, mut version: u64, ringer: &Ringer, stop: &Futex) {
    loop {
        let value = region.prepare_sleep();
        full_barrier();
        if stop.value() != 0 {
            return;
        }
        let now = region.version();
        if now == version {
            wait(region.wake_word(), value, None);
        } else {
            version = now;
            ringer.ring();
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.stop.bump_and_wake();
        // Whoever takes part in a shared region may change this word; the other sleepers look once in vain.
        self.region.wake_word().bump_and_wake();
        let panicked = self.thread.take().is_some_and(|thread| thread.join().is_err());
        debug_assert!(!panicked, "the watching thread only sleeps and rings");
    }
}
