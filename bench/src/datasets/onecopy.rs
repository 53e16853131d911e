//! This project's datasets. `open`: from the name to the first byte, and closing again, of a dataset that
//! another process published, by a node that is there. `read` and `read-huge`: 16 bytes at random places, in
//! pages of 4 KiB and of 2 MiB; `read-file`: the same where the content is a file on a disk that can be
//! written, all of it in the page cache.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use onecopy::dataset::{Backing, PublishedDataset};
use zerocopy::{FromBytes, IntoBytes};

use super::Record;
use crate::cell::Cell;
use crate::child::Link;
use crate::onecopy_node;
use crate::samples::Samples;

const NAME: &str = "records";

pub(super) fn cell(bench: &str) -> Option<Cell> {
    let parent = match bench {
        "open" => open,
        "read" | "read-huge" => read,
        "read-file" => read_file,
        _ => return None,
    };
    Some(Cell::Pair { parent, child: publish })
}

/// The second process: publishes, and waits until the first one has had enough.
fn publish(link: &mut Link) -> anyhow::Result<()> {
    let published = match link.job.bench.as_str() {
        "read-file" => publish_file(link)?,
        _ => publish_memory(link)?,
    };
    if let Some(error) = published.huge_pages_error() {
        eprintln!("read-huge is like read here: {error}");
    }
    link.meet()?;
    link.hear()?;
    Ok(())
}

fn publish_memory(link: &Link) -> anyhow::Result<PublishedDataset> {
    let mut dataset = onecopy_node::open(&link.job)?.dataset(NAME)?.without_hash();
    if link.job.bench == "read-huge" {
        dataset = dataset.huge_pages();
    }
    let records = link.job.payload / size_of::<Record>();
    let mut draft = dataset.builder().section::<Record>(NAME, records).allocate()?;
    super::fill(draft.section_mut::<Record>(NAME)?);
    Ok(draft.publish()?)
}

fn publish_file(link: &Link) -> anyhow::Result<PublishedDataset> {
    let mut records = vec![[0; 2]; link.job.payload / size_of::<Record>()];
    super::fill(&mut records);
    let node = onecopy_node::open(&link.job)?;
    let path: PathBuf = std::env::temp_dir()
        .join(format!("onecopy-bench-{}", link.job.parent_pid))
        .join(format!("{}.records", link.job.instance));
    std::fs::write(&path, records.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(node.dataset(NAME)?.backing(Backing::File).without_hash().publish_file(path)?)
}

fn open(link: &mut Link) -> anyhow::Result<Samples> {
    link.meet()?;
    let node = onecopy_node::open(&link.job)?;
    let dataset = node.dataset(NAME)?;
    let mut samples = Samples::new()?;
    let begin = Instant::now();
    let mut mark = begin;
    let mut opened = 0;
    while mark - begin < link.job.duration {
        let view = dataset.open()?;
        std::hint::black_box(view.bytes()?.first());
        drop(view);
        opened += 1;
        let now = Instant::now();
        samples.record_time(now - mark, 1);
        mark = now;
    }
    samples.add_to_mean(mark - begin, opened);
    link.tell(0)?;
    Ok(samples)
}

fn read(link: &mut Link) -> anyhow::Result<Samples> {
    link.meet()?;
    let view = onecopy_node::open(&link.job)?.dataset(NAME)?.open()?;
    let records = view.section::<Record>(NAME)?;
    let samples = super::read_at_random(&link.job, records.len(), |place| Ok(records[place]))?;
    link.tell(0)?;
    Ok(samples)
}

fn read_file(link: &mut Link) -> anyhow::Result<Samples> {
    link.meet()?;
    let view = onecopy_node::open(&link.job)?.dataset(NAME)?.open()?;
    let records = link.job.payload / size_of::<Record>();
    let samples = super::read_at_random(&link.job, records, |place| {
        let mut bytes = [0; size_of::<Record>()];
        view.read_at((place * size_of::<Record>()) as u64, &mut bytes)?;
        Record::read_from_bytes(&bytes).ok().context("a record has its size")
    })?;
    link.tell(0)?;
    Ok(samples)
}
