//! The names of users and groups, from `/etc/passwd` and `/etc/group`. Directories behind the name service
//! (LDAP and the like) are not asked: that takes the C library's plug-ins. Whoever is only known there is
//! written as a number.

use std::collections::BTreeMap;

/// The users and groups of this machine.
///
/// ```
/// use onecopy::config::Accounts;
///
/// let accounts = Accounts::parse("camera:x:1001:1001::/:/bin/false", "video:x:44:camera");
/// assert_eq!(accounts.uid_of("camera"), Some(1001));
/// assert_eq!(accounts.gid_of("video"), Some(44));
/// assert_eq!(accounts.gids_of(1001), [1001, 44]);
/// // Those of this machine; whoever is not in its files has a number all the same.
/// let accounts = Accounts::of_system();
/// assert_eq!(accounts.uid_of("root").unwrap_or(0), 0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Clone)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Debug, Clone)]
struct Group {
    gid: u32,
    members: Vec<String>,
}

impl Accounts {
    /// Those that `/etc/passwd` and `/etc/group` have. A file that can't be read has none.
    pub fn of_system() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/etc/passwd"), &read("/etc/group"))
    }

    /// Those that texts in the formats of these files have. Lines that are none are passed over, as the C library does.
    pub fn parse(passwd: &str, group: &str) -> Self {
        let users = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?, fields.next()?);
            let user = User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? };
            Some((name.to_owned(), user))
        });
        let groups = group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?, fields.next()?);
            let gid = fields.next()?.parse().ok()?;
            let members = fields.next().unwrap_or_default().split(',').map(str::to_owned).collect();
            Some((name.to_owned(), Group { gid, members }))
        });
        Self { users: users.collect(), groups: groups.collect() }
    }

    /// The number of a user.
    pub fn uid_of(&self, name: &str) -> Option<u32> {
        self.users.get(name).map(|user| user.uid)
    }

    /// The number of a group.
    pub fn gid_of(&self, name: &str) -> Option<u32> {
        self.groups.get(name).map(|group| group.gid)
    }

    /// The groups that a user is in, its own first.
    pub fn gids_of(&self, uid: u32) -> Vec<u32> {
        let Some((name, user)) = self.users.iter().find(|(_, user)| user.uid == uid) else {
            return Vec::new();
        };
        let listed = self.groups.values().filter(|group| group.members.contains(name));
        std::iter::once(user.gid).chain(listed.map(|group| group.gid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_have_numbers() {
        let accounts = Accounts::parse(
            "root:x:0:0::/:/bin/sh\ngarbled\ncamera:x:1001:1001::/:/bin/false\nbad:x:none:0::/:\n",
            "root:x:0:\nrobotics:x:2000:camera,root\nvideo:x:44:camera\n::\n",
        );
        assert_eq!((accounts.uid_of("camera"), accounts.uid_of("bad")), (Some(1001), None));
        assert_eq!((accounts.gid_of("robotics"), accounts.gid_of("garbled")), (Some(2000), None));
        assert_eq!(accounts.gids_of(1001), [1001, 2000, 44]);
        assert!(accounts.gids_of(7).is_empty());
    }
}
