//! Every byte that two processes agree on, with its size and place asserted at compile time.
//!
//! `segment.rs` has what every segment begins with, `ring.rs`, `readers.rs`, `region.rs` and `dataset.rs` what follows in each
//! kind.
//!
//! All words are atomics in native byte order: whoever maps such a structure may be reading what another process is
//! writing. Nothing here is trusted by a reader; geometry is read once, checked, and kept in private memory.
//!
//! ```text
//! any segment      0  SegmentHeader (one line)
//!
//! ring segment     0  SegmentHeader
//!                 64  RingHeader (seven lines: geometry, head, floor, wake)
//!                512  slots: capacity × slot_bytes
//!                  …  arena: the first chunks
//!
//! slot             0  sequence    position + 1, top bit set while it is being written
//!                  8  meta        length (32 bits) | count (16) | kind (16)
//!                 16  inline: payload bytes        chunk: segment, offset, length
//!
//! pool segment     0  SegmentHeader
//!                 64  chunks
//!
//! reader segment   0  SegmentHeader
//!                 64  Blocks (one line each): a reader's cursor, sleep ticket and held messages
//!             64 MiB  CountersHeader (one line)
//!            + 64     ReaderCounters (one line each), by block number
//!            128 MiB  ClientCounters (2,560 bytes each)
//!
//! region segment   0  SegmentHeader
//!                 64  RingHeader, of which a region uses the words for waking
//!                512  RegionHeader (eight lines: geometry, current, lock, watchers)
//!               1024  shared regions: SeatLines (one line each), by seat number
//!                  …  copies: small values in place, or a line each and the payloads behind
//!                  …  note, if there is one
//!
//! copy             0  sequence    version of the value, top bit set while it is being written
//!                  8  length
//!                 16  small: the value
//!
//! dataset segment  0  SegmentHeader
//!                 64  DatasetHeader (two lines)
//!                192  SectionEntries (one line each)
//!                  …  texts: names of sections and of their types, the path of the file
//!                  …  content, from a multiple of 4096 on; none where a file is the content
//! ```
//!
//! A dataset is sealed against all writing before anybody else sees it, so its words are plain numbers.

mod dataset;
mod readers;
mod region;
mod ring;
mod segment;

pub use dataset::*;
pub use readers::*;
pub use region::*;
pub use ring::*;
pub use segment::*;
