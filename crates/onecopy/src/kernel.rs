//! What the kernel offers to this process, for those who want to tell people: the library finds it out by itself.

use onecopy_memory::layout::SegmentKind;
use onecopy_memory::segment::{Segment, View};

pub use onecopy_memory::kernel::{DISABLE_VARIABLE, Features, features};
pub use onecopy_memory::segment::SegmentError;

/// Makes a piece of shared memory as publishers do, and maps it as subscribers do.
///
/// ```
/// onecopy::kernel::try_shared_memory()?;
/// # Ok::<(), onecopy::kernel::SegmentError>(())
/// ```
///
/// # Errors
///
/// What keeps this process from it: a kernel without seals, a limit, a container's filter.
pub fn try_shared_memory() -> Result<(), SegmentError> {
    const BYTES: usize = 4096;
    let segment = Segment::create(SegmentKind::Pool, BYTES, 0)?;
    let received = segment.descriptor().try_clone_to_owned();
    let received = received.map_err(|source| SegmentError::System { call: "dup", source })?;
    View::open(received, SegmentKind::Pool).map(drop)
}
