//! Regions at the control thread: memory that comes from a writer, or is left by the last one, and the seats
//! of those who write by turns.

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

/// Keeps a descriptor of a region's memory, for the broker that comes next.
pub(super) fn remember_region(
    session: &Session,
    port: PortId,
    memory: OwnedFd,
) -> Result<OwnedFd, std::io::Error> {
    let kept = Arc::new(memory.try_clone()?);
    session.conversation.ledger().remember(port, kept);
    Ok(memory)
}

pub(super) fn map_region(
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
    let opened = remember_region(session, subscriber, memory)
        .map_err(Box::from)
        .and_then(|memory| map_region(session, (), payload, memory));
    inbox.post(match opened {
        Ok(reader) => News::Region(RegionNews::Value { publisher: None, reader }),
        Err(error) => News::Refused(ReceiveError::Publisher {
            publisher: "the last writer".to_owned(),
            reason: error.to_string(),
        }),
    });
}

pub(super) fn take_seat(session: &Session, port: PortId, seated: Option<Seated>) {
    let Some(seated) = seated else { return };
    session.conversation.ledger().seated(port, seated.seat.to_bits());
    if let Some(shared) = session.ports().shared.get_mut(&port) {
        shared.seated = Some(seated);
    }
    session.set_opening(port, Opening::Settled);
}

/// The memory of a region that several write.
pub(super) fn take_shared_memory(session: &Session, port: PortId, memory: OwnedFd) {
    match memory.try_clone() {
        Ok(kept) => session.conversation.ledger().take_shared(port, Arc::new(kept)),
        Err(error) => tracing::warn!(%port, %error, "a region's memory can't be handed to another broker"),
    }
    if let Some(shared) = session.ports().shared.get(&port) {
        shared.inbox.post(News::Region(RegionNews::Shared(memory)));
    }
}

pub(super) fn lose_seat(session: &Session, port: PortId, seat: u32) {
    session.conversation.ledger().seat_gone(port, seat);
    let Some(seat) = Seat::from_bits(seat) else { return };
    let region = session.ports().shared.get_mut(&port).and_then(|shared| {
        shared.living.remove(&seat);
        shared.region.clone()
    });
    if let Some(region) = region {
        region.seat_gone(seat);
    }
}
