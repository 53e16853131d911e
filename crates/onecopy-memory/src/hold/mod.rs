//! What a reader tells a writer: where its cursor stands, which messages it holds, that it sleeps. The reader writes
//! it into lines of its own; the writer maps them read-only and looks when it wants its chunks back.
//!
//! Holding a message is a hazard pointer across processes (Maged M. Michael, "Hazard Pointers", 2004): the reader
//! first writes the message's position into its held table, then makes sure that the writer had not given the chunk
//! up already. Dropping the message clears the entry. All readers of a process share one segment, so that a writer
//! that looks at many readers touches few pages.
//!
//! | file | one concept |
//! |---|---|
//! | `table.rs` | the segment of a process, and who has which of its blocks |
//! | `chain.rs` | the blocks of one reader, in whose entries it notes what it holds |
//! | `reader_state.rs` | one reader as its writer sees it: cursor, sleep, and the writer that it may have to wake |
//! | `held.rs` | one message held, for a look or for as long as it takes |
//! | `peer_reader.rs` | the writer's look at all that |
//! | `error.rs` | no room for more |

mod chain;
mod error;
mod held;
mod peer_reader;
mod reader_state;
mod table;

pub use chain::CHAIN_BLOCKS_MAX;
pub(crate) use chain::Entry;
pub use error::HoldError;
pub(crate) use held::BriefHold;
pub use held::Hold;
pub use peer_reader::PeerReader;
pub(crate) use reader_state::OnSpace;
pub use reader_state::ReaderState;
pub use table::ReaderTable;
