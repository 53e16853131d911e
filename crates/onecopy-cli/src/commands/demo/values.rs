//! A region between two processes: the coordinator writes one value after the other as fast as it can, and
//! another process watches, sees those that there is time for, and checks that none is torn or goes back.

use onecopy::Node;
use onecopy::region::Region;

use super::plan::{INSTANCE, Plan, REGION, VALUES};
use super::publisher::PATIENCE;
use super::report::{Report, wait_for_dismissal};
use super::transport::now_nanoseconds;
use crate::failure::Failure;

/// A value: the same number in every word, so that a torn one shows.
type Words = [u64; 8];

/// The watching process.
pub(super) fn watch(plan: &Plan) -> Result<(), Failure> {
    let node = Node::builder().directory(&plan.directory).instance(INSTANCE).name("watcher").open()?;
    let region = node.region::<Words>(REGION)?.open()?;
    let mut watch = region.watch()?;
    Report::Ready.send()?;
    let (mut seen, mut last) = (0, 0);
    while last != VALUES {
        last = check(&*watch.wait(PATIENCE)?, last)?;
        seen += 1;
    }
    // Not from the watch, but by looking once more.
    let last = check(&region.get()?, last - 1)?;
    Report::Watched { seen, last }.send()?;
    Report::Finished.send()?;
    wait_for_dismissal()
}

/// The region, with its first value.
pub(super) fn create(node: &Node) -> Result<Region<Words>, Failure> {
    Ok(node.region::<Words>(REGION)?.create(&[0; 8])?)
}

/// Writes all values, and gives the time that it took, in nanoseconds.
pub(super) fn write(region: &Region<Words>) -> Result<u64, Failure> {
    let began = now_nanoseconds();
    for number in 1..=VALUES {
        region.write(&[number; 8])?;
    }
    Ok(now_nanoseconds().saturating_sub(began))
}

/// The number of a value that is whole, and newer than the one before.
fn check(value: &Words, before: u64) -> Result<u64, Failure> {
    let [number, ..] = *value;
    if value.iter().any(|word| *word != number) {
        return Err(Failure::Demo(format!("a value is torn: {value:?}")));
    }
    if number <= before {
        return Err(Failure::Demo(format!("value {number} was seen after value {before}")));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_and_newer_values_pass() {
        assert_eq!(check(&[5; 8], 4).unwrap(), 5);
        assert!(check(&[5; 8], 5).is_err());
        assert!(check(&[5, 5, 5, 5, 5, 5, 5, 6], 4).is_err());
    }
}
