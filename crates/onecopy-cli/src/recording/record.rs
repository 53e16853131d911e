//! One record of a recording. Its parser sets memory aside for as many bytes as a text claims to have, up to
//! 4 GiB, before it looks for them; so what is claimed is compared with what is there first, and what says
//! nothing to us is not parsed.

use mcap::McapError;
use mcap::records::{Record, op};

/// What a record says, if it is of a kind that we look at.
pub(super) fn parse(opcode: u8, data: &[u8]) -> Result<Option<Record<'static>>, McapError> {
    let texts_fit = match opcode {
        op::HEADER => behind_texts(data, 0, 2).is_some(),
        op::SCHEMA => behind_texts(data, size_of::<u16>(), 2).is_some(),
        op::CHANNEL => behind_texts(data, 2 * size_of::<u16>(), 2).and_then(behind_map).is_some(),
        op::MESSAGE => true,
        _ => return Ok(None),
    };
    if !texts_fit {
        return Err(McapError::UnexpectedEoc);
    }
    mcap::parse_record(opcode, data).map(|record| Some(record.into_owned()))
}

/// What lies behind `count` texts, of which the first begins after so many bytes; `None` if they don't fit.
fn behind_texts(data: &[u8], begin: usize, count: usize) -> Option<&[u8]> {
    (0..count).try_fold(data.get(begin..)?, |rest, _| behind_block(rest))
}

/// Behind a map of texts, which goes to where its length says, and no further.
fn behind_map(data: &[u8]) -> Option<&[u8]> {
    let behind = behind_block(data)?;
    let mut entries = &data[size_of::<u32>()..data.len() - behind.len()];
    while !entries.is_empty() {
        entries = behind_texts(entries, 0, 2)?;
    }
    Some(behind)
}

/// Behind bytes whose number comes first.
fn behind_block(data: &[u8]) -> Option<&[u8]> {
    let (length, rest) = data.split_first_chunk()?;
    rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(claimed: u32, bytes: &[u8]) -> Vec<u8> {
        [&claimed.to_le_bytes(), bytes].concat()
    }

    fn is_refused(opcode: u8, data: &[u8]) -> bool {
        matches!(parse(opcode, data), Err(McapError::UnexpectedEoc))
    }

    #[test]
    fn a_text_has_the_bytes_that_it_claims() {
        let (short, ids) = (text(1, b"x"), [0; 4]);
        for length in [2, u32::MAX] {
            let long = text(length, b"x");
            assert!(is_refused(op::HEADER, &long));
            assert!(is_refused(op::HEADER, &[short.as_slice(), &long].concat()));
            assert!(is_refused(op::SCHEMA, &[&ids[..2], &short, &long].concat()));
            assert!(is_refused(op::CHANNEL, &[&ids[..], &short, &long, &[0; 4]].concat()));
            let map = text(10, &[short.as_slice(), &long].concat());
            assert!(is_refused(op::CHANNEL, &[&ids[..], &short, &short, &map].concat()));
            assert!(is_refused(op::CHANNEL, &[&ids[..], &short, &short, &text(length, &[])].concat()));
        }
        let channel =
            [&ids[..], &short, &short, &text(10, &[short.clone(), short.clone()].concat())].concat();
        assert!(
            matches!(parse(op::CHANNEL, &channel), Ok(Some(Record::Channel(channel))) if channel.topic == "x")
        );
    }

    #[test]
    fn what_says_nothing_to_us_is_passed_over() {
        assert!(matches!(parse(op::METADATA, &text(u32::MAX, &[])), Ok(None)));
    }
}
