//! Bytes that nobody shares: `read` and `read-huge` in memory of this process alone, which is what each job
//! has that loads its own copy; `read-file` in a file, by the system call alone.

use std::os::unix::fs::FileExt;

use anyhow::Context;
use zerocopy::{FromBytes, IntoBytes};

use super::Record;
use crate::cell::Cell;
use crate::child::Link;
use crate::samples::Samples;

pub(super) fn cell(bench: &str) -> Option<Cell> {
    let parent = match bench {
        "read" | "read-huge" => read,
        "read-file" => read_file,
        _ => return None,
    };
    Some(Cell::Pair { parent, child: |link| link.meet() })
}

fn records(link: &Link) -> Vec<Record> {
    let mut records = vec![[0; 2]; link.job.payload / size_of::<Record>()];
    super::fill(&mut records);
    records
}

fn read(link: &mut Link) -> anyhow::Result<Samples> {
    let records = records(link);
    link.meet()?;
    super::read_at_random(&link.job, records.len(), |place| Ok(records[place]))
}

fn read_file(link: &mut Link) -> anyhow::Result<Samples> {
    let records = records(link);
    let file = tempfile()?;
    file.write_all_at(records.as_bytes(), 0).context("cannot write a file")?;
    link.meet()?;
    super::read_at_random(&link.job, records.len(), |place| {
        let mut bytes = [0; size_of::<Record>()];
        file.read_exact_at(&mut bytes, (place * size_of::<Record>()) as u64).context("cannot read a file")?;
        Record::read_from_bytes(&bytes).ok().context("a record has its size")
    })
}

/// A file without a name, where temporary files are.
fn tempfile() -> anyhow::Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR);
    Ok(file.context("cannot create a file")?.into())
}
