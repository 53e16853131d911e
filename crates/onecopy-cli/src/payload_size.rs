//! Whether bytes can be a payload of a type, as far as their number tells: what is wrong is better said
//! before it is sent.

use onecopy::payload_type::{PayloadKind, PayloadType};

/// Whether a payload of the type can have so many bytes.
pub(crate) fn is_size_of(payload: &PayloadType, bytes: u64) -> bool {
    let element_bytes = payload.element.size_bytes;
    match payload.kind {
        PayloadKind::Value => bytes == element_bytes,
        PayloadKind::Slice => bytes.checked_rem(element_bytes).unwrap_or(bytes) == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onecopy::payload_type::TypeDescription;

    #[test]
    fn payloads_have_the_size_of_their_type() {
        let payload = |kind, element| PayloadType { kind, element, header: TypeDescription::of::<()>() };
        let value = payload(PayloadKind::Value, TypeDescription::of::<u64>());
        assert!(is_size_of(&value, 8) && !is_size_of(&value, 0) && !is_size_of(&value, 16));
        let slice = payload(PayloadKind::Slice, TypeDescription::of::<u32>());
        assert!(is_size_of(&slice, 0) && is_size_of(&slice, 12) && !is_size_of(&slice, 13));
        let nothing = payload(PayloadKind::Slice, TypeDescription::of::<()>());
        assert!(is_size_of(&nothing, 0) && !is_size_of(&nothing, 1));
    }
}
