//! What the subjects have in common with the peer `iceoryx2`: its node, its names, and the event by which it wakes a
//! process that sleeps. Its files live under a prefix of this program's own and are removed at the end, because a
//! measurement that was broken off leaves some behind.

use anyhow::{Context, ensure};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::prelude::{Config, FileName, LogLevel, Node, NodeBuilder, SemanticString, ServiceName, ipc};

use crate::endpoint::Side;
use crate::job::Job;

const PREFIX: &str = "bench_iceoryx2_";

/// A node whose files the end of the run can tell from others.
pub(crate) fn open(job: &Job) -> anyhow::Result<Node<ipc::Service>> {
    iceoryx2::prelude::set_log_level(LogLevel::Error);
    // By the first process's id, `clean_up` finds the files.
    let prefix = format!("{PREFIX}{}_", job.parent_pid);
    let mut config = Config::default();
    config.global.prefix = FileName::new(prefix.as_bytes()).context("iceoryx2 refuses the file prefix")?;
    let root = iceoryx2::prelude::Path::new(format!("/tmp/{prefix}/").as_bytes());
    config.global.set_root_path(&root.context("iceoryx2 refuses the root path")?);
    NodeBuilder::new().config(&config).create::<ipc::Service>().context("iceoryx2 cannot create a node")
}

/// A name for one direction of a measurement.
pub(crate) fn service_name(job: &Job, direction: &str) -> anyhow::Result<ServiceName> {
    ServiceName::new(&format!("{}/{direction}", job.instance)).context("iceoryx2 refuses the service name")
}

/// Removes what iceoryx2 left of this program's measurements, and of earlier runs that were broken off.
pub(crate) fn clean_up() {
    crate::leftovers::remove(PREFIX, &["/dev/shm", "/tmp"]);
}

/// An event in each direction: what a process sleeps in until the other one has sent something.
pub(crate) struct Bell {
    notifier: Notifier<ipc::Service>,
    listener: Listener<ipc::Service>,
}

impl Bell {
    /// Both sides have to be here before either rings.
    pub(crate) fn open(node: &Node<ipc::Service>, job: &Job, side: Side) -> anyhow::Result<Self> {
        let (outward, inward) = side.directions();
        let event = |direction| {
            let service = node.service_builder(&service_name(job, direction)?).event().open_or_create();
            service.context("iceoryx2 cannot open an event service")
        };
        let notifier =
            event(outward)?.notifier_builder().create().context("iceoryx2 cannot create a notifier")?;
        let listener =
            event(inward)?.listener_builder().create().context("iceoryx2 cannot create a listener")?;
        Ok(Self { notifier, listener })
    }

    /// Wakes the other side.
    pub(crate) fn ring(&self) -> anyhow::Result<()> {
        let notified = self.notifier.notify()?;
        ensure!(notified == 1, "{notified} listeners were notified");
        Ok(())
    }

    /// Sleeps until the other side rings.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        self.listener.blocking_wait(|_| {})?;
        Ok(())
    }
}
