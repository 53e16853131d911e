//! Properties of the parts that do no I/O (packets as bytes, the state machine under random histories), and what of the
//! server can't be seen from outside.

mod access;
mod codec;
mod datasets;
mod growth;
mod history;
mod remains;
mod samples;
mod server;
mod services;
mod state;
