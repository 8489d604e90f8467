//! Giving up root: which user and group serve, and the proof that there is no way back.
//!
//! The order is supplementary groups, group, user: each step needs the rights that the next one
//! gives away.

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use haraka_shared::log::Level;
use haraka_shared::log_server;
use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, geteuid, getresgid, getresuid, initgroups, seteuid, setgroups,
    setresgid, setresuid,
};

/// Who serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `None` keeps the user.
    uid: Option<Uid>,
    gid: Gid,
    /// Login name, if the user has one: its supplementary groups are taken on.
    login: Option<CString>,
}

/// Why privileges cannot be dropped.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// No such user.
    #[error("smtp.ini: user: no user \"{0}\"")]
    NoUser(String),
    /// No such group.
    #[error("smtp.ini: group: no group \"{0}\"")]
    NoGroup(String),
    /// A numeric user without an entry in the user database.
    #[error("smtp.ini: group: must be set, as user {0} has no group of its own")]
    NoPrimary(Uid),
    /// The user database cannot be asked.
    #[error("user database: {0}")]
    Database(Errno),
    /// Only root can become another user.
    #[error("smtp.ini: user, group: only root can switch to uid {uid} gid {gid}")]
    NotRoot {
        /// Wanted.
        uid: Uid,
        /// Wanted.
        gid: Gid,
    },
    /// The system refused.
    #[error("{step}: {cause}")]
    Refused {
        /// Which call.
        step: &'static str,
        /// Why.
        cause: Errno,
    },
    /// The calls succeeded but root is still within reach.
    #[error("privileges can be regained after dropping them")]
    Regained,
}

impl Identity {
    /// Looks up user and group, by name or number. `None` if neither is set. Without a group, the
    /// user's own is taken. Fails also if this process may not switch.
    pub fn resolve(
        user: Option<&str>,
        group: Option<&str>,
    ) -> Result<Option<Identity>, PrivilegeError> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let account = user.map(find_user).transpose()?;
        let group = group.map(find_group).transpose()?;
        let (uid, login, primary) = match account {
            None => (None, None, None),
            Some(Account::Known(u)) => (Some(u.uid), CString::new(u.name).ok(), Some(u.gid)),
            Some(Account::Number(uid)) => (Some(uid), None, None),
        };
        let gid = match (group.or(primary), uid) {
            (Some(gid), _) => gid,
            (None, Some(uid)) => return Err(PrivilegeError::NoPrimary(uid)),
            (None, None) => return Ok(None),
        };
        let identity = Identity { uid, gid, login };
        if !geteuid().is_root() && !identity.is_current()? {
            return Err(PrivilegeError::NotRoot {
                uid: identity.uid.unwrap_or_else(geteuid),
                gid,
            });
        }
        Ok(Some(identity))
    }

    /// Becomes this user and group for good, supplementary groups included, and proves it.
    pub fn assume(&self) -> Result<(), PrivilegeError> {
        if self.is_current()? {
            return Ok(());
        }
        let refused = |step| move |cause| PrivilegeError::Refused { step, cause };
        match &self.login {
            Some(login) => initgroups(login, self.gid).map_err(refused("initgroups"))?,
            None => setgroups(&[self.gid]).map_err(refused("setgroups"))?,
        }
        log_server!(
            Level::Notice,
            "Switching from current gid: {}",
            nix::unistd::getgid()
        );
        setresgid(self.gid, self.gid, self.gid).map_err(refused("setgid"))?;
        log_server!(Level::Notice, "New gid: {}", nix::unistd::getgid());
        if let Some(uid) = self.uid {
            log_server!(
                Level::Notice,
                "Switching from current uid: {}",
                nix::unistd::getuid()
            );
            setresuid(uid, uid, uid).map_err(refused("setuid"))?;
            log_server!(Level::Notice, "New uid: {}", nix::unistd::getuid());
        }
        if !self.is_current()? {
            return Err(PrivilegeError::Regained);
        }
        let root_again =
            self.uid.is_some_and(|uid| !uid.is_root()) && seteuid(Uid::from_raw(0)).is_ok();
        if root_again {
            return Err(PrivilegeError::Regained);
        }
        Ok(())
    }

    /// The user that files for the workers must belong to.
    pub fn owner(&self) -> (Option<Uid>, Gid) {
        (self.uid, self.gid)
    }

    /// Whether real, effective and saved ids are these already.
    fn is_current(&self) -> Result<bool, PrivilegeError> {
        let refused = |step| move |cause| PrivilegeError::Refused { step, cause };
        let u = getresuid().map_err(refused("getresuid"))?;
        let g = getresgid().map_err(refused("getresgid"))?;
        let is_user = self
            .uid
            .is_none_or(|uid| [u.real, u.effective, u.saved] == [uid; 3]);
        Ok(is_user && [g.real, g.effective, g.saved] == [self.gid; 3])
    }
}

enum Account {
    Known(User),
    Number(Uid),
}

fn find_user(name: &str) -> Result<Account, PrivilegeError> {
    if let Ok(number) = name.parse::<u32>() {
        let uid = Uid::from_raw(number);
        let known = User::from_uid(uid).map_err(PrivilegeError::Database)?;
        return Ok(known.map_or(Account::Number(uid), Account::Known));
    }
    User::from_name(name)
        .map_err(PrivilegeError::Database)?
        .map(Account::Known)
        .ok_or_else(|| PrivilegeError::NoUser(name.to_owned()))
}

fn find_group(name: &str) -> Result<Gid, PrivilegeError> {
    if let Ok(number) = name.parse::<u32>() {
        return Ok(Gid::from_raw(number));
    }
    Group::from_name(name)
        .map_err(PrivilegeError::Database)?
        .map(|g| g.gid)
        .ok_or_else(|| PrivilegeError::NoGroup(name.to_owned()))
}

/// Makes the queue directory if it is missing, and gives it to those who serve if it belongs to
/// root: workers write it after they have dropped their privileges (PB-49).
pub fn prepare_queue_dir(path: &Path, identity: Option<&Identity>) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        Ok(()) | Err(_) => {}
    }
    // Opened first and changed through the descriptor, so that nobody can put a link in its place.
    let dir: File = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY)
        .open(path)?;
    let owner = dir.metadata()?.uid();
    let Some((Some(uid), gid)) = identity.map(Identity::owner) else {
        return Ok(());
    };
    if owner == uid.as_raw() {
        return Ok(());
    }
    if owner == 0 && geteuid().is_root() {
        return fchown(&dir, Some(uid.as_raw()), Some(gid.as_raw()));
    }
    log_server!(
        Level::Warn,
        "{} belongs to uid {owner}, but uid {uid} has to write it",
        path.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_means_nothing_changes() {
        assert_eq!(Identity::resolve(None, None).unwrap(), None);
    }

    // covers KEY-07
    #[test]
    fn an_unknown_user_or_group_is_named() {
        let e = Identity::resolve(Some("no-such-user-here"), None).unwrap_err();
        assert_eq!(
            e.to_string(),
            "smtp.ini: user: no user \"no-such-user-here\""
        );
        let e = Identity::resolve(None, Some("no-such-group-here")).unwrap_err();
        assert_eq!(
            e.to_string(),
            "smtp.ini: group: no group \"no-such-group-here\""
        );
    }

    // covers KEY-07
    #[test]
    fn a_number_without_an_account_needs_a_group() {
        if !geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        assert!(matches!(
            Identity::resolve(Some("3999999"), None),
            Err(PrivilegeError::NoPrimary(_))
        ));
        let identity = Identity::resolve(Some("3999999"), Some("3999998"))
            .unwrap()
            .unwrap();
        assert_eq!(
            identity.owner(),
            (Some(Uid::from_raw(3_999_999)), Gid::from_raw(3_999_998))
        );
    }
}
