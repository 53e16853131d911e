//! Regions at the control thread: memory that comes from a writer, or is left by the last one, and the seats of those who
//! write by turns.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use onecopy_memory::layout::SegmentKind;
use onecopy_memory::region::{RegionReader, Seat};
use onecopy_memory::segment::View;

use super::ports::{Opening, Seated};
use super::session::Session;
use crate::broker::protocol::PortId;
use crate::error::ReceiveError;
use crate::inbox::{News, RegionNews};
use crate::payload_type::PayloadType;

pub(super) fn open_region(
    session: &Session,
    token: impl Send + Sync + 'static,
    payload: &PayloadType,
    memory: OwnedFd,
) -> Result<RegionReader, Box<dyn std::error::Error>> {
    let view = View::open(memory, SegmentKind::Region)?;
    view.expect_layout(payload.layout_hash())?;
    Ok(RegionReader::open(&view, &session.table, Box::new(token))?)
}

/// A region without a writer: its last value, for as long as somebody looks at it.
pub(super) fn take_remains(session: &Session, subscriber: PortId, payload: &PayloadType, memory: OwnedFd) {
    let inbox = session.ports().subscribers.get(&subscriber).map(|port| Arc::clone(&port.inbox));
    let Some(inbox) = inbox else { return };
    inbox.post(match open_region(session, (), payload, memory) {
        Ok(reader) => News::Region(RegionNews::Value { publisher: None, reader }),
        Err(error) => News::Refused(ReceiveError::Publisher {
            publisher: "the last writer".to_owned(),
            reason: error.to_string(),
        }),
    });
}

pub(super) fn take_seat(session: &Session, port: PortId, seated: Option<Seated>) {
    let Some(seated) = seated else { return };
    if let Some(shared) = session.ports().shared.get_mut(&port) {
        shared.seated = Some(seated);
    }
    session.set_opening(port, Opening::Settled);
}

pub(super) fn lose_seat(session: &Session, port: PortId, seat: u32) {
    let Some(seat) = Seat::from_bits(seat) else { return };
    let region = session.ports().shared.get_mut(&port).and_then(|shared| {
        shared.living.remove(&seat);
        shared.region.clone()
    });
    if let Some(region) = region {
        region.seat_gone(seat);
    }
}
