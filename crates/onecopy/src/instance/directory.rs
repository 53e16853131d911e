//! The runtime directory: whose it is, whether it may be trusted, and who gets into it.
//!
//! An instance has an *owner*: the user whose directory it lives in, who alone runs its broker. Unless the
//! configuration names somebody, that is the user of whoever looks. A process of another user is a *guest*:
//! it needs to know whom to trust, or anybody could put a socket in its way. It trusts the owner that the
//! configuration names, and root; it never becomes the broker, and waits for the next one if the last has
//! ended.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, chmodat, fchmod, fstat, openat};
use rustix::io::Errno;

use super::Instance;
use super::error::InstanceError;

/// What a directory is for its owner and whoever the configuration admits: they may pass through it and find
/// the socket, and can neither list it nor lock it.
const DIRECTORY_FOR_OTHERS: Mode = Mode::from_raw_mode(0o711);
const SOCKET_FOR_OTHERS: Mode = Mode::from_raw_mode(0o666);
const SOCKET_FOR_OWNER: Mode = Mode::from_raw_mode(0o600);

const ROOT: u32 = 0;

impl Instance {
    /// The user whose instance it is to be.
    fn owner(&self) -> u32 {
        self.config.owner().unwrap_or(self.uid)
    }

    /// The user whose directory the instance lives in, if there is a directory. Only one that nobody else can
    /// change will do, since whoever could change it could put a socket of their own there.
    pub(super) fn directory_owner(&self) -> Result<Option<u32>, InstanceError> {
        Ok(self.find_directory()?.map(|(_, owner)| owner))
    }

    /// Whether this process is none of the owner's: it never becomes the broker.
    pub(super) fn is_guest(&self) -> Result<bool, InstanceError> {
        Ok(self.directory_owner()?.unwrap_or_else(|| self.owner()) != self.uid)
    }

    fn find_directory(&self) -> Result<Option<(OwnedFd, u32)>, InstanceError> {
        // A guest may not list it, so it is not opened for reading.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = || self.directory.clone();
        let directory = match rustix::fs::open(&self.directory, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(InstanceError::NotADirectory { path: path() }),
            Err(source) => return Err(self.failed("open the directory of", source)),
        };
        let stat = fstat(&directory).map_err(|source| self.failed("look at the directory of", source))?;
        if stat.st_uid != self.owner() && stat.st_uid != ROOT {
            return Err(self.foreign_directory(stat.st_uid));
        }
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.intersects(Mode::WGRP | Mode::WOTH) {
            return Err(InstanceError::WritableDirectory { path: path(), mode: mode.as_raw_mode() });
        }
        Ok(Some((directory, stat.st_uid)))
    }

    fn foreign_directory(&self, owner: u32) -> InstanceError {
        let path = self.directory.clone();
        let config = match self.config.file() {
            Some(file) => file.to_owned(),
            None => crate::config::Config::candidates(&self.name).pop().unwrap_or_default(),
        };
        match self.config.owner() {
            Some(expected) => InstanceError::OtherOwner { path, owner, expected, config },
            None => InstanceError::ForeignDirectory { path, owner, uid: self.uid, config },
        }
    }

    /// The runtime directory, if there is one, to open files in and to lock it: for its owner.
    pub(super) fn open_directory(&self) -> Result<Option<OwnedFd>, InstanceError> {
        let Some((directory, owner)) = self.find_directory()? else { return Ok(None) };
        if owner != self.uid {
            return Err(self.not_owner(owner));
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(directory, ".", flags, Mode::empty()) {
            Ok(directory) => Ok(Some(directory)),
            // Removed in between.
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(self.failed("open the directory of", source)),
        }
    }

    pub(super) fn create_directory(&self) -> Result<(), InstanceError> {
        if self.owner() != self.uid {
            return Err(self.not_owner(self.owner()));
        }
        match rustix::fs::mkdir(&self.directory, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(source) => {
                Err(InstanceError::CreateDirectory { path: self.directory.clone(), source: source.into() })
            }
        }
    }

    /// Whoever began to listen on the socket in a directory of `owner` must be that user. Root may have done
    /// it for them, as systemd does.
    pub(super) fn check_listener(&self, pid: u32, uid: u32, owner: u32) -> Result<(), InstanceError> {
        if uid == owner || uid == ROOT {
            return Ok(());
        }
        let path = self.socket_path();
        Err(InstanceError::ForeignSocket { path, pid, owner: uid, uid: owner })
    }

    pub(super) fn not_owner(&self, owner: u32) -> InstanceError {
        InstanceError::NotOwner { instance: self.name.clone(), owner, uid: self.uid }
    }

    /// Whether any user may connect to the socket.
    pub(super) fn is_open_to_others(&self) -> bool {
        let stat = rustix::fs::stat(self.socket_path());
        stat.is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::WOTH))
    }

    /// Lets other users reach the socket, or lets them not. A directory that lets some of them pass already
    /// is left as it is: whoever runs the machine may have chosen a group for it.
    pub(super) fn set_reach(&self, directory: impl AsFd, others: bool) -> Result<(), InstanceError> {
        let failed = |source: Errno| self.failed("set who may connect to", source);
        if others
            && !Mode::from_raw_mode(fstat(&directory).map_err(failed)?.st_mode)
                .intersects(Mode::XGRP | Mode::XOTH)
        {
            fchmod(&directory, DIRECTORY_FOR_OTHERS).map_err(failed)?;
        }
        let mode = if others { SOCKET_FOR_OTHERS } else { SOCKET_FOR_OWNER };
        chmodat(directory, self.socket_name(), mode, AtFlags::empty()).map_err(failed)
    }
}
