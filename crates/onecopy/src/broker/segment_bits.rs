//! A set of segments in a packet: its bits, as one number.

use onecopy_memory::pool::SegmentSet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(set: &SegmentSet, serializer: S) -> Result<S::Ok, S::Error> {
    set.bits().serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SegmentSet, D::Error> {
    u64::deserialize(deserializer).map(SegmentSet::from_bits)
}
