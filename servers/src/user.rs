//! Whose rights a server runs with. PostgreSQL refuses root, so root needs somebody else for it.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, Result};

const PASSWD: &str = "/etc/passwd";
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// A user other than ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The user that runs PostgreSQL on behalf of root.
    pub(crate) fn unprivileged() -> Result<Self> {
        let passwd = fs::read_to_string(PASSWD).unwrap_or_default();
        let mut candidates =
            UNPRIVILEGED.iter().filter_map(|name| find(&passwd, |user| user.name == *name));
        candidates.next().ok_or(Error::NoUnprivilegedUser)
    }

    /// The user that owns a folder, with the folder's group.
    pub(crate) fn owner_of(folder: &Metadata) -> Self {
        let passwd = fs::read_to_string(PASSWD).unwrap_or_default();
        let known = find(&passwd, |user| user.uid == folder.uid());
        known.unwrap_or_else(|| Self {
            name: folder.uid().to_string(),
            uid: folder.uid(),
            gid: folder.gid(),
        })
    }

    /// Whether the user may pass `folder` and everything above it. Access lists are not looked at.
    pub(crate) fn can_reach(&self, folder: &Path) -> bool {
        folder
            .ancestors()
            .all(|folder| fs::metadata(folder).is_ok_and(|found| self.can_pass(&found)))
    }

    fn can_pass(&self, folder: &Metadata) -> bool {
        self.may_search(folder.uid(), folder.gid(), folder.permissions().mode())
    }

    /// The first class that fits decides, even when a later one would allow more.
    fn may_search(&self, owner: u32, group: u32, mode: u32) -> bool {
        let bit = if owner == self.uid {
            0o100
        } else if group == self.gid {
            0o010
        } else {
            0o001
        };
        mode & bit != 0
    }
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn find(passwd: &str, wanted: impl Fn(&User) -> bool) -> Option<User> {
    passwd.lines().filter_map(parse).find(wanted)
}

fn parse(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { name, uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_passwd_lines() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n#broken\n\npostgres:x:101:104::/:/bin/sh\n";
        let user = find(passwd, |user| user.name == "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert_eq!(find(passwd, |user| user.name == "nobody"), None);
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let user = User { name: "postgres".to_owned(), uid: 101, gid: 104 };
        let cases = [
            (0, 0, 0o755, true),
            (0, 0, 0o700, false),
            (0, 0, 0o770, false),
            (0, 104, 0o710, true),
            (0, 104, 0o701, false),
            (101, 0, 0o700, true),
            (101, 0, 0o077, false),
        ];
        for (owner, group, mode, expected) in cases {
            assert_eq!(user.may_search(owner, group, mode), expected, "{owner}:{group} {mode:o}");
        }
    }
}
