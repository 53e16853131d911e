//! Properties of the parts that do no I/O: packets as bytes, and the state machine under random histories.

mod codec;
mod history;
mod samples;
mod state;
