//! A cell of the results table: what a peer does in a row, in either process, and how a slice of it is run.

use anyhow::Context;

use crate::child::{self, Link};
use crate::interleave::Slice;
use crate::job::Job;
use crate::samples::Samples;

/// What a peer does in a row: a function for either process.
pub(crate) enum Cell {
    /// One second process for the whole slice
    Pair { parent: fn(&mut Link) -> anyhow::Result<Samples>, child: fn(&mut Link) -> anyhow::Result<()> },
    /// Many second processes one after the other, started by `parent`
    Many { parent: fn(&Job) -> anyhow::Result<Samples>, child: fn(&mut Link) -> anyhow::Result<()> },
}

/// Measures a slice of `cell`, whose subject has the name `suite`.
pub(crate) fn measure(cell: Option<Cell>, job: Job, suite: &str) -> anyhow::Result<Slice> {
    match cell.context("this peer has no such row")? {
        Cell::Pair { parent, .. } => child::run(job, suite, |link| {
            let samples = parent(link)?;
            Ok(Slice { samples, probes: link.probes().to_vec() })
        }),
        Cell::Many { parent, .. } => Ok(Slice { samples: parent(&job)?, probes: Vec::new() }),
    }
}

/// What the second process does.
pub(crate) fn answer(cell: Option<Cell>, link: &mut Link) -> anyhow::Result<()> {
    match cell.context("this peer has no such row")? {
        Cell::Pair { child, .. } | Cell::Many { child, .. } => child(link),
    }
}
