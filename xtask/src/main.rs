//! The project's own tasks, as `cargo xtask <command>`: everything a contributor or the continuous integration runs
//! goes through here, so that both run the same thing.

#![forbid(unsafe_code)]

mod bench;
mod chaos;
mod process;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every check of the project, the same that continuous integration runs
    Test(test::Arguments),
    /// Static checks that the compiler does not make: sizes, unsafe code, documents, manifests
    Tidy,
    /// Real processes that are killed and stopped at random, for as long as wanted
    Chaos(chaos::Arguments),
    /// The benchmarks against other means of communication
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test(arguments) => test::run(arguments),
        Command::Tidy => tidy::run(),
        Command::Chaos(arguments) => chaos::run(arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_of_the_benchmark_pass_through() {
        let arguments =
            Arguments::try_parse_from(["xtask", "bench", "topics", "--quick", "--json", "out.json"]);
        let Ok(Arguments { command: Command::Bench(bench) }) = arguments else { panic!("{arguments:?}") };
        assert_eq!(bench.arguments, ["topics", "--quick", "--json", "out.json"]);
    }
}
