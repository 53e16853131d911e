//! What processors do while nobody has work for them. Left alone, a virtual machine's processor is handed back to the
//! host, and whoever wakes it waits for the host: tens of microseconds that hide every difference between the peers. So
//! the measurements ask the kernel to let idle processors poll, through the interface made for that
//! (`/dev/cpu_dma_latency`, see `Documentation/power/pm_qos_interface.rst` in the kernel's source), for as
//! long as they run.

use std::fs::File;
use std::io::Write;

use anyhow::Context;

const INTERFACE: &str = "/dev/cpu_dma_latency";

/// What idle processors are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Idle {
    /// Poll for work, so that waking one costs what the kernel takes (needs the right to write /dev/cpu_dma_latency)
    Poll,
    /// Whatever they do on this machine
    Halt,
}

/// Processors poll until this is dropped.
#[derive(Debug)]
pub(crate) struct AwakeProcessors {
    _request: File,
}

/// Sees to it that idle processors do as asked; by default they poll if this user may have that.
pub(crate) fn arrange(wanted: Option<Idle>) -> anyhow::Result<Option<AwakeProcessors>> {
    if wanted == Some(Idle::Halt) {
        eprintln!("idle processors do what they do on this machine");
        return Ok(None);
    }
    match keep_awake() {
        Ok(awake) => {
            eprintln!("idle processors poll");
            Ok(Some(awake))
        }
        Err(error) if wanted.is_none() => {
            eprintln!("idle processors do what they do on this machine ({error:#})");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn keep_awake() -> anyhow::Result<AwakeProcessors> {
    let mut request = File::options().write(true).open(INTERFACE).with_context(|| INTERFACE.to_owned())?;
    // Microseconds that a wake-up may take. The kernel forgets the wish when the file is closed.
    request.write_all(&0_i32.to_ne_bytes()).with_context(|| INTERFACE.to_owned())?;
    Ok(AwakeProcessors { _request: request })
}
