//! What the rules of the instance say to what peers ask for. The user that the broker runs as may do
//! everything; of all others the configuration says what they may, and a refusal names the rule that refuses,
//! or what is missing.
//!
//! | request | right |
//! |---|---|
//! | a publisher, a subscriber of a topic | `publish`, `subscribe` |
//! | a client, a server of a service | `call`, `serve` |
//! | a region's reader; its writer, or a participant of a shared one | `read`; `write` |
//! | a dataset's version, a look at it | `publish`, `read` |
//! | having something kept | as for its writer or publisher |
//! | ending the broker | `admin` |
//! | taking its place | none: the broker's user only, whom all others trust |
//!
//! Who asks what there is sees what it has any right on, and gets the memory of what it could open anyway.

use std::sync::Arc;

use super::account::Charge;
use super::denied::Denied;
use super::exceeded::Exceeded;
use super::peers::PeerId;
use super::protocol::{Address, Refusal, Request, Role};
use super::state::Broker;
use super::transport::Credentials;
use crate::config::{Action, Config, Decision, Kind, Right, Who};
use crate::limits::MAX_DETAIL_BYTES;

/// The right that a request takes, if it takes any.
fn action(request: &Request) -> Option<Action<'_>> {
    let (right, kind, name) = match request {
        Request::OpenPublisher { address: Address::Topic(name), .. } => (Right::Publish, Kind::Topic, name),
        Request::OpenPublisher { address: Address::Region { name, .. }, .. } => {
            (Right::Write, Kind::Region, name)
        }
        Request::OpenSubscriber { address: Address::Topic(name), .. } => {
            (Right::Subscribe, Kind::Topic, name)
        }
        Request::OpenSubscriber { address: Address::Region { name, .. }, .. } => {
            (Right::Read, Kind::Region, name)
        }
        Request::OpenService { role: Role::Client, service, .. } => (Right::Call, Kind::Service, service),
        Request::OpenService { role: Role::Server, service, .. } => (Right::Serve, Kind::Service, service),
        Request::OpenShared { region, .. } | Request::Keep { region, .. } => {
            (Right::Write, Kind::Region, region)
        }
        Request::PublishDataset { dataset, .. }
        | Request::KeepDataset { dataset, .. }
        | Request::ReopenDataset { dataset, publishes: true, .. } => (Right::Publish, Kind::Dataset, dataset),
        Request::OpenDataset { dataset, .. } | Request::ReopenDataset { dataset, .. } => {
            (Right::Read, Kind::Dataset, dataset)
        }
        Request::Stop => return Some(Action::Admin),
        _ => return None,
    };
    Some(Action::Named { right, kind, name })
}

impl Broker {
    /// Has it obey these rules and quotas. To be called before anybody connects.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use onecopy::broker::state::Broker;
    /// use onecopy::broker::transport::Credentials;
    /// use onecopy::config::{Accounts, Config};
    ///
    /// let mut broker = Broker::new(Credentials { pid: 1, uid: 1000 });
    /// let guest = Credentials { pid: 2, uid: 1001 };
    /// assert!(broker.check_newcomer(guest, &[]).is_err());
    /// let text = "[admit]\ngroups = [2000]\n";
    /// broker.govern(Arc::new(Config::parse("lab.toml".as_ref(), text, &Accounts::of_system())?));
    /// assert!(broker.check_newcomer(guest, &[2000]).is_ok());
    /// assert!(broker.check_newcomer(guest, &[44]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn govern(&mut self, config: Arc<Config>) {
        self.quota.govern(Arc::clone(&config), self.own.credentials.uid);
        self.config = config;
    }

    /// Whether somebody who has connected is to be let in. Costs nothing, so that whoever is not costs nothing either.
    ///
    /// # Errors
    ///
    /// Why not: the rules, or all that its user or its process may take is taken.
    pub fn check_newcomer(&self, credentials: Credentials, gids: &[u32]) -> Result<(), Refusal> {
        let Credentials { pid, uid } = credentials;
        let who = Who { uid, gids: gids.to_vec() };
        if !self.is_own_user(uid) && !self.config.admits(&who) {
            let broker_uid = self.own.credentials.uid;
            return Err(match self.config.file() {
                Some(_) => Refusal::NotAdmitted { uid, file: self.config_file() },
                None => Refusal::WrongUser { peer_uid: uid, broker_uid },
            });
        }
        Ok(self.quota.check_newcomer(pid, &who)?)
    }

    /// Whether that user is the one that the broker runs as.
    pub(super) fn is_own_user(&self, uid: u32) -> bool {
        uid == self.own.credentials.uid
    }

    /// Whether a peer runs as the user of the broker.
    pub(super) fn is_own(&self, peer: PeerId) -> bool {
        self.peers.who(peer).is_none_or(|who| self.is_own_user(who.uid))
    }

    /// Whether a peer may do something.
    pub(super) fn check(&self, peer: PeerId, action: Action<'_>) -> Result<(), Box<Denied>> {
        let Some(who) = self.peers.who(peer).filter(|who| !self.is_own_user(who.uid)) else { return Ok(()) };
        let line = match self.config.decide(who, action) {
            Decision::Allowed { .. } => return Ok(()),
            Decision::Denied { line } => Some(line),
            Decision::NoRule | Decision::NotAdmitted => None,
        };
        let object = match action {
            Action::Named { kind, name, .. } => Some((kind, name.to_owned())),
            Action::Admin => None,
        };
        let (uid, right, file) = (who.uid, action.right(), self.config_file());
        tracing::info!(uid, %action, line, "the rules refuse a request");
        Err(Box::new(Denied { uid, right, object, file, line }))
    }

    /// What the topic, service, region or dataset that a request opens costs its user.
    pub(super) fn charge_named(
        &mut self,
        peer: PeerId,
        request: &Request,
    ) -> Result<Option<Arc<Charge>>, Exceeded> {
        match action(request) {
            Some(Action::Named { kind, name, .. }) => self.quota.charge_topic(peer, kind, name),
            _ => Ok(None),
        }
    }

    /// Whether a peer may ask for this.
    pub(super) fn check_request(&self, peer: PeerId, request: &Request) -> Result<(), Box<Denied>> {
        action(request).map_or(Ok(()), |action| self.check(peer, action))
    }

    /// Whether a peer may know of something: it has some right on it.
    pub(super) fn may_see(&self, peer: PeerId, kind: Kind, name: &str) -> bool {
        kind.rights().into_iter().any(|right| self.may(peer, right, kind, name)) || self.may_see_all(peer)
    }

    /// Whether a peer may see everything.
    pub(super) fn may_see_all(&self, peer: PeerId) -> bool {
        self.is_allowed(peer, Action::Admin)
    }

    /// Whether a peer has a right, without a word if it has not.
    pub(super) fn may(&self, peer: PeerId, right: Right, kind: Kind, name: &str) -> bool {
        self.is_allowed(peer, Action::Named { right, kind, name })
    }

    fn is_allowed(&self, peer: PeerId, action: Action<'_>) -> bool {
        let foreigner = self.peers.who(peer).filter(|who| !self.is_own_user(who.uid));
        foreigner.is_none_or(|who| self.config.decide(who, action).is_allowed())
    }

    /// The file that the rules come from, as far as a packet has room for its path.
    pub(super) fn config_file(&self) -> String {
        let mut file = self.config.file().map_or_else(String::new, |path| path.display().to_string());
        file.truncate(file.floor_char_boundary(MAX_DETAIL_BYTES));
        file
    }
}
