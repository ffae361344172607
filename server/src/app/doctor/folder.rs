//! The folders: whether they can be used, by whom, and whether there is room.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt, path::Path};

use haul_client::cli::number;
use rustix::fs::{Access, access, statvfs};

use super::{Finding, Group};
use crate::{
    app::folder::{self, Lock},
    config::Config,
};

const GROUP: Group = Group::Folders;
const ANOTHER: &str = "give another with --data-dir";

/// Below that a run is cut short soon.
const FREE_MIN_BYTES: u64 = 64 << 20;
/// Below that it is time to look.
const FREE_LOW_BYTES: u64 = 1 << 30;
/// A year of daily prices of all 4,433 issues, measured with `hauld demo`; the journal comes on top.
const TOKYO_BYTES: i64 = 112 << 20;
const FILES_LOW: u64 = 100;

pub(super) fn check(config: &Config, database: &Path, holder: &io::Result<Lock>) -> Vec<Finding> {
    let path = folder::of(database);
    let existing = path.ancestors().find_map(|path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Some((path, std::fs::metadata(path).ok()?))
    });
    let Some((existing, metadata)) = existing else {
        let message = format!("{} and all above it are not there", path.display());
        return vec![GROUP.fail("data", message, ANOTHER)];
    };
    if !metadata.is_dir() {
        return vec![GROUP.fail("data", format!("{} is no folder", existing.display()), ANOTHER)];
    }
    let mut findings = data(path, existing, &metadata);
    findings.extend(room(existing));
    findings.push(match holder {
        Ok(Lock::Free) => GROUP.ok("lock", "no hauld holds the store"),
        Ok(Lock::Held(Some(address))) => {
            GROUP.ok("lock", format!("a hauld that is reached at {address} holds the store: it is running"))
        }
        Ok(Lock::Held(None)) => GROUP.warn(
            "lock",
            "a hauld holds the store and does not say where it is reached",
            "wait for it: it is starting, or a hauld migrate",
        ),
        Err(error) => GROUP.fail("lock", format!("the lock file cannot be read: {error}"), ANOTHER),
    });
    findings.extend(config.file_roots.iter().map(|root| file_root(root)));
    findings
}

/// The folder of the store. Where it is not there yet, what it would be made in.
fn data(path: &Path, existing: &Path, metadata: &Metadata) -> Vec<Finding> {
    let shown = path.display();
    if let Err(error) = access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        let message = format!("{} cannot be written: {}", existing.display(), io::Error::from(error));
        let fix = "let the account that hauld runs as write it, or give another with --data-dir";
        return vec![GROUP.fail("data", message, fix)];
    }
    if existing != path {
        let message = format!("{shown} is not there yet; hauld serve makes it in {}", existing.display());
        return vec![GROUP.ok("data", message)];
    }
    let mut findings = vec![GROUP.ok("data", format!("{shown} can be written"))];
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        findings.push(GROUP.warn(
            "owner",
            format!("{shown} belongs to the account with uid {}, this is uid {me}", metadata.uid()),
            "run hauld as one account: what another one writes it may not be able to write",
        ));
    }
    if metadata.mode() & 0o002 != 0 {
        findings.push(GROUP.warn(
            "access",
            format!("{shown} can be written by every account of this machine"),
            format!("chmod 700 {shown}"),
        ));
    } else if metadata.mode() & 0o004 != 0 {
        findings.push(GROUP.warn(
            "access",
            format!("{shown} can be read by every account of this machine"),
            format!("chmod 700 {shown} if that is not meant"),
        ));
    }
    findings
}

fn room(existing: &Path) -> Vec<Finding> {
    let shown = existing.display();
    let mut findings = Vec::new();
    match statvfs(existing) {
        Ok(filesystem) => {
            let free = filesystem.f_bavail * filesystem.f_frsize;
            let tokyo = number::bytes(TOKYO_BYTES);
            let message = format!(
                "{} free at {shown}; a year of prices of the whole exchange takes {tokyo}",
                number::bytes(free as i64)
            );
            findings.push(match free {
                0..FREE_MIN_BYTES => {
                    GROUP.fail("space", message, "make room, or give another with --data-dir")
                }
                FREE_MIN_BYTES..FREE_LOW_BYTES => GROUP.warn("space", message, "make room before long"),
                _ => GROUP.ok("space", message),
            });
            // Filesystems without a table of files say that they have none at all.
            if filesystem.f_files > 0 && filesystem.f_favail < FILES_LOW {
                let message = format!("{} more files can be made at {shown}", filesystem.f_favail);
                findings.push(GROUP.fail("files", message, "remove files that nobody needs there"));
            }
        }
        Err(error) => {
            let message = format!("free space at {shown} is not known: {}", io::Error::from(error));
            findings.push(GROUP.warn("space", message, "look yourself"));
        }
    }
    findings.extend(filesystem(existing));
    findings
}

/// What SQLite should not lie on, by the magic numbers of statfs(2).
#[cfg(target_os = "linux")]
fn filesystem(existing: &Path) -> Option<Finding> {
    const LOCKS: &str = "locks of files may not hold there, and the store needs them: use a local disk";
    const NO_FILES: &str = "no file can be made there: give another with --data-dir";
    let magic = u64::try_from(rustix::fs::statfs(existing).ok()?.f_type).ok()? & 0xffff_ffff;
    let shown = existing.display();
    Some(match magic {
        0x6969 => GROUP.warn("filesystem", format!("{shown} is on NFS"), LOCKS),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => GROUP.warn("filesystem", format!("{shown} is on SMB"), LOCKS),
        0x6573_5546 => GROUP.warn("filesystem", format!("{shown} is on FUSE"), LOCKS),
        0x0102_1997 => GROUP.warn("filesystem", format!("{shown} is on 9p"), LOCKS),
        0x0102_1994 => GROUP.warn(
            "filesystem",
            format!("{shown} is in memory (tmpfs)"),
            "what is fetched is gone when the machine restarts: use a disk if it is to last",
        ),
        0x9fa0 => GROUP.fail("filesystem", format!("{shown} is the kernel's (proc)"), NO_FILES),
        0x6265_6572 => GROUP.fail("filesystem", format!("{shown} is the kernel's (sysfs)"), NO_FILES),
        _ => return None,
    })
}

#[cfg(not(target_os = "linux"))]
fn filesystem(_: &Path) -> Option<Finding> {
    None
}

fn file_root(root: &Path) -> Finding {
    match std::fs::read_dir(root) {
        Ok(_) => GROUP.ok("file root", format!("{} can be read", root.display())),
        Err(error) => GROUP.fail(
            "file root",
            format!("{} cannot be read: {error}", root.display()),
            "make the folder, or take it out of file_roots",
        ),
    }
}
