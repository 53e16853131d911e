//! Runs other programs from the root of the repository, each shown on standard error before it starts, so that a
//! log reads like a list of commands one can repeat by hand.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// A program to run with its arguments and its changes to the environment.
#[derive(Debug)]
pub(crate) struct Process {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// Variables taken out of the inherited environment.
    removed: Vec<&'static str>,
    /// Searched for programs before the inherited search path.
    tools: Option<PathBuf>,
}

impl Process {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            removed: Vec::new(),
            tools: None,
        }
    }

    /// The Cargo of the toolchain in use.
    pub(crate) fn cargo() -> Self {
        Self::new("cargo")
    }

    pub(crate) fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn environment(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Finds programs in this folder first.
    pub(crate) fn tools(mut self, folder: Option<PathBuf>) -> Self {
        self.tools = folder;
        self
    }

    /// Undoes what the running Cargo set for this program, so that another toolchain can be chosen.
    pub(crate) fn without_toolchain(mut self) -> Self {
        self.removed.extend(["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"]);
        self
    }

    /// Runs to the end with output passed through; any exit status but success is an error.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        eprintln!("$ {self}");
        let status = self.command()?.status().with_context(|| format!("cannot start {self}"))?;
        if !status.success() {
            bail!("{status} from: {self}");
        }
        Ok(())
    }

    /// Runs to the end and gives its standard output; any exit status but success is an error.
    pub(crate) fn output(self) -> anyhow::Result<String> {
        eprintln!("$ {self}");
        let output = self
            .command()?
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {self}"))?;
        if !output.status.success() {
            bail!("{} from: {self}", output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("not UTF-8: the output of {self}"))
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(crate::workspace::root()).stdin(Stdio::null());
        for name in &self.removed {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(tools) = &self.tools {
            let inherited = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(tools.clone()).chain(std::env::split_paths(&inherited));
            command.env("PATH", std::env::join_paths(folders)?);
        }
        Ok(command)
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in &self.environment {
            write!(formatter, "{}={} ", name.to_string_lossy(), quoted(value))?;
        }
        if let Some(tools) = &self.tools {
            write!(formatter, "PATH={}:$PATH ", quoted(tools.as_os_str()))?;
        }
        write!(formatter, "{}", quoted(&self.program))?;
        for argument in &self.arguments {
            write!(formatter, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_=./:,+%@".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Where a program is found on the search path, if anywhere.
pub(crate) fn find_program(name: impl AsRef<Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_shown_as_one_would_type_it() {
        let process =
            Process::new("cargo").arguments(["test", "two words"]).environment("RUSTFLAGS", "--cfg loom");
        assert_eq!(process.to_string(), "RUSTFLAGS='--cfg loom' cargo test 'two words'");
    }

    #[test]
    fn a_failing_process_is_an_error_that_names_it() {
        let error = Process::new("false").run().unwrap_err();
        assert!(error.to_string().contains("false"), "{error}");
        assert!(Process::new("true").run().is_ok());
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let error = Process::new("no-such-program-anywhere").run().unwrap_err();
        assert!(error.to_string().contains("no-such-program-anywhere"), "{error}");
    }

    #[test]
    fn tools_are_searched_first() {
        let process = Process::new("sh").arguments(["-c", "echo $PATH"]).tools(Some("/tools".into()));
        assert!(process.to_string().starts_with("PATH=/tools:$PATH sh"));
        assert!(process.output().unwrap().starts_with("/tools:"));
    }

    #[test]
    fn output_is_captured() {
        assert_eq!(Process::new("echo").arguments(["hello"]).output().unwrap(), "hello\n");
    }

    #[test]
    fn programs_are_found_on_the_search_path() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-anywhere").is_none());
    }
}
