//! Which instance a command speaks of, and whether it may start it.

use std::sync::OnceLock;

use onecopy::instance::Instance;
use onecopy::{Node, NodeBuilder};

use crate::failure::Failure;

/// The instance chosen on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    instance: String,
}

/// A node that only looks, and what is known of the broker that it looks at.
pub(crate) struct Visit {
    pub(crate) node: Node,
    /// Process of the broker.
    pub(crate) broker_pid: u32,
}

impl Scope {
    pub(crate) fn new(instance: String) -> Self {
        Self { instance }
    }

    /// Its name.
    pub(crate) fn instance_name(&self) -> &str {
        &self.instance
    }

    pub(crate) fn instance(&self) -> Result<Instance, Failure> {
        Ok(Instance::from_env(&self.instance)?)
    }

    /// Joins the instance, or founds it. `name` is what `onecopy status` shows.
    pub(crate) fn join(&self, name: &str) -> Result<Node, Failure> {
        // It may become the broker of many.
        raise_open_files();
        Ok(self.builder(name).open()?)
    }

    fn builder(&self, name: &str) -> NodeBuilder {
        Node::builder().instance(&self.instance).name(name)
    }

    /// Joins the instance to look at it, if it runs.
    pub(crate) fn visit(&self) -> Result<Visit, Failure> {
        self.visit_as("onecopy")
    }

    /// Joins the instance if it runs, with or without a broker just now: looking at nothing must not make
    /// something. `name` is what `onecopy status` shows.
    pub(crate) fn visit_as(&self, name: &str) -> Result<Visit, Failure> {
        let instance = self.instance()?;
        let absent = || Failure::NoBroker {
            instance: self.instance.clone(),
            socket: instance.socket_path().display().to_string(),
        };
        let node = self.builder(name).visit()?.ok_or_else(absent)?;
        // Not who made the socket, which may be systemd.
        Ok(Visit { broker_pid: node.broker_pid(), node })
    }
}

/// Lets this program have as many files open as it may. What it could have before is remembered for programs
/// that it starts.
pub(crate) fn raise_open_files() {
    match onecopy::open_files::raise_limit() {
        Ok(before) => drop(OPEN_FILES_BEFORE.set(before)),
        Err(error) => tracing::debug!(%error, "the limit of open files stays as it is"),
    }
}

static OPEN_FILES_BEFORE: OnceLock<u64> = OnceLock::new();

/// The limit of open files that this program was started with.
pub(crate) fn open_files_before() -> u64 {
    OPEN_FILES_BEFORE.get().copied().unwrap_or_else(onecopy::open_files::limit)
}
