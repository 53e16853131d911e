//! A dataset: bytes loaded once and read by many processes, where they lie. Replaced only as a whole.
//!
//! Run it with `cargo run -p onecopy --example 18_dataset`.

use std::time::Duration;

use onecopy::Node;
use onecopy::dataset::DatasetError;
use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct City {
    name_offset: u32,
    name_bytes: u32,
    inhabitants: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let loader = Node::builder().directory(directory.path()).name("loader").open()?;
    let worker = Node::builder().directory(directory.path()).name("worker").open()?;

    // A file, as it is. In other processes, opening it takes as long for a terabyte as for these few bytes.
    let path = directory.path().join("greeting.txt");
    std::fs::write(&path, "hello")?;
    let published = loader.dataset("greeting")?.publish_file(&path)?;
    let view = worker.dataset("greeting")?.open()?;
    assert_eq!(view.bytes()?, b"hello");
    println!("version {} of {:?}: BLAKE3 {}", view.version(), view.name(), view.verify()?);

    // Named sections, typed and aligned, written where they will be read. Offsets, not pointers, lead from
    // one to another.
    let names = ["Bern", "Oslo", "Quito"];
    let text: String = names.concat();
    let mut draft = loader
        .dataset("cities")?
        .builder()
        .section::<City>("cities", names.len())
        .section::<u8>("names", text.len())
        .allocate()?;
    draft.section_mut::<u8>("names")?.copy_from_slice(text.as_bytes());
    let mut name_offset = 0;
    for (city, name) in draft.section_mut::<City>("cities")?.iter_mut().zip(names) {
        *city = City { name_offset, name_bytes: name.len() as u32, inhabitants: 0 };
        name_offset += city.name_bytes;
    }
    let cities = draft.publish()?;

    let seen = worker.dataset("cities")?.open()?;
    let text = seen.section::<u8>("names")?;
    for city in seen.section::<City>("cities")? {
        let range = city.name_offset as usize..(city.name_offset + city.name_bytes) as usize;
        println!("{}", std::str::from_utf8(&text[range])?);
    }

    // A new version takes the old one's place at once. Who has the old one open keeps it for as long as they like.
    std::fs::write(&path, "hello again")?;
    let replaced = loader.dataset("greeting")?.publish_file(&path)?;
    let newer = view.wait_for_newer(Duration::from_secs(10))?;
    assert_eq!((view.version(), view.bytes()?), (1, &b"hello"[..]));
    assert_eq!((newer.version(), newer.bytes()?), (2, &b"hello again"[..]));
    assert!(!view.is_current() && newer.is_current());

    // The dataset is there as long as anybody has it open.
    drop((published, replaced, view));
    assert_eq!(worker.dataset("greeting")?.open()?.version(), 2);
    drop(newer);
    // Once the broker has answered, it has heard that they let go.
    loader.inventory()?;
    match worker.dataset("greeting")?.open() {
        Err(DatasetError::NotFound { dataset }) => println!("{dataset:?} is gone, and so is its memory"),
        other => return Err(format!("expected it to be gone, got {other:?}").into()),
    }
    drop(cities);
    Ok(())
}
