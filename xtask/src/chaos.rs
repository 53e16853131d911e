//! `cargo xtask chaos`: the chaos test for as long as wanted, in release, with a seed if one is to be repeated. Its
//! short run is part of the tests.

use crate::process::Process;

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Arguments {
    /// Makes the same choices as a run that printed this
    #[arg(long)]
    seed: Option<u64>,
    /// How long processes are killed and stopped
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut test = Process::cargo()
        .arguments(["test", "--release", "--package", "onecopy", "--test", "chaos", "--", "--nocapture"])
        .environment("ONECOPY_CHAOS_SECONDS", arguments.seconds.to_string());
    if let Some(seed) = arguments.seed {
        test = test.environment("ONECOPY_CHAOS_SEED", seed.to_string());
    }
    test.run()
}
