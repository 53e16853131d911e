//! A look at a ring from outside: what its writer counts, without taking part.

use std::os::fd::OwnedFd;

use super::{Geometry, Ring};
use crate::layout::SegmentKind;
use crate::segment::{SegmentError, View};
use crate::sync::{Ordering, load_acquire};

/// Sees a ring, and is seen by nobody.
///
/// ```
/// use onecopy_memory::ring::{Geometry, Observer, RingWriter};
///
/// let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
/// let observer = Observer::open(writer.descriptor().try_clone_to_owned()?)?;
/// writer.publish_inline(&[], b"hello");
/// assert_eq!(observer.counters().messages, 1);
/// assert_eq!((observer.messages(), observer.geometry().capacity()), (1, 16));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Observer {
    ring: Ring,
}

/// What a writer had counted at one moment. Each is read by itself, so two of them may be a message apart.
///
/// See [`Observer`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterCounters {
    /// Messages published.
    pub messages: u64,
    /// Payload bytes published.
    pub bytes: u64,
    /// Messages that found the ring full at first.
    pub full: u64,
    /// Messages that found no memory at first.
    pub exhausted: u64,
    /// How often the writer slept until readers made space.
    pub waits: u64,
    /// Readers that it went on without.
    pub evictions: u64,
    /// Its next message found no room, or no memory, when it tried last.
    pub is_blocked: bool,
    /// How often it woke readers that slept on the futex, modulo 2³².
    pub wakes: u32,
    /// Most bytes of its pool.
    pub budget_bytes: u64,
    /// Bytes of the pool's segments, of which only what messages touched is real.
    pub pool_bytes: u64,
    /// Chunks that readers had not given back when the writer looked last.
    pub chunks_out: u64,
}

impl Observer {
    /// Maps a ring for looking at its counters only.
    ///
    /// # Errors
    ///
    /// What [`View::open`] says.
    pub fn open(descriptor: OwnedFd) -> Result<Self, SegmentError> {
        let view = View::open(descriptor, SegmentKind::Ring)?;
        Ok(Self { ring: Ring::of_view(&view)? })
    }

    /// Messages published so far.
    pub fn messages(&self) -> u64 {
        load_acquire(&self.ring.header().head)
    }

    /// Everything that is counted.
    pub fn counters(&self) -> WriterCounters {
        let header = self.ring.header();
        let messages = self.messages();
        WriterCounters {
            messages,
            bytes: header.published_bytes.load(Ordering::Relaxed),
            full: header.full.load(Ordering::Relaxed),
            exhausted: header.exhausted.load(Ordering::Relaxed),
            waits: header.waits.load(Ordering::Relaxed),
            evictions: header.evictions.load(Ordering::Relaxed),
            is_blocked: header.blocked_at.load(Ordering::Relaxed) == messages.saturating_add(1),
            wakes: header.wake.value(),
            budget_bytes: header.budget_bytes.load(Ordering::Relaxed),
            pool_bytes: header.pool_bytes.load(Ordering::Relaxed),
            chunks_out: header.chunks_out.load(Ordering::Relaxed),
        }
    }

    /// The ring's sizes and rules.
    pub fn geometry(&self) -> Geometry {
        self.ring.geometry
    }
}
