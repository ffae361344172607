//! A small disk of its own for a data folder.

use std::{fs::File, io::Write, path::PathBuf, process::Command};

use tempfile::TempDir;

/// A disk that is taken away when dropped: drop the server before.
pub(crate) struct Disk(TempDir);

impl Disk {
    /// Nothing, where disks may not be mounted.
    pub(crate) fn mount(megabytes: u32) -> Option<Self> {
        let point = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(point.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(point))
    }

    /// A folder for a server whose data is on this disk, and nothing else of it.
    pub(crate) fn folder(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(self.0.path(), folder.path().join("data")).unwrap();
        folder
    }

    /// Leaves no room at all.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        let full = loop {
            if let Err(error) = ballast.write_all(&[1; 4_096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    /// Gives the room back.
    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may be there for a moment more.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
