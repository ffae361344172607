//! The data folder: one process at a time has the store, and says where it is reached.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Seek, Write},
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::node::NodeError;

/// A store's file, held by this process until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) database: PathBuf,
    lock: File,
}

/// Who has the store.
#[derive(Debug)]
pub(super) enum Holder {
    /// This process.
    Us(Folder),
    /// Another one, reached there, if it says so.
    Other(Option<SocketAddr>),
}

/// Why the store's file cannot be held.
#[derive(Debug, thiserror::Error)]
#[error("data folder {} cannot be written: {source}; give another with --data-dir", folder.display())]
pub(super) struct FolderError {
    folder: PathBuf,
    source: std::io::Error,
}

/// A process that has just taken the lock has so long to say where it is reached.
const ADDRESS_WAIT: Duration = Duration::from_secs(5);

/// The folder that a store's file is in.
pub(super) fn of(database: &Path) -> &Path {
    database.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The lock of a store. Whatever name leads to it: one store, one lock.
fn lock_of(database: PathBuf) -> (PathBuf, PathBuf) {
    let database = match std::fs::canonicalize(&database) {
        Ok(database) => database,
        Err(_) => match (std::fs::canonicalize(of(&database)), database.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            _ => database,
        },
    };
    let mut lock = database.clone().into_os_string();
    lock.push(".lock");
    (database, lock.into())
}

/// Takes the store, unless another process has it.
pub(super) fn take(database: PathBuf) -> Result<Holder, FolderError> {
    let folder = of(&database).to_owned();
    let failed = |source| FolderError { folder: folder.clone(), source };
    if folder.exists() && !folder.is_dir() {
        return Err(failed(ErrorKind::NotADirectory.into()));
    }
    // What is fetched is nobody else's on this machine, until somebody says so.
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
    let (database, path) = lock_of(database);
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {
            lock.set_len(0).map_err(failed)?;
            Ok(Holder::Us(Folder { database, lock }))
        }
        Err(TryLockError::WouldBlock) => Ok(Holder::Other(address(&mut lock).map_err(failed)?)),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Whether somebody has the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// Nobody.
    Free,
    /// Another process, reached there, if it says so.
    Held(Option<SocketAddr>),
}

/// Looks who has the store. Makes nothing, and takes nothing for longer than the look.
pub(super) fn look(database: PathBuf) -> std::io::Result<Lock> {
    let mut lock = match File::open(lock_of(database).1) {
        Ok(lock) => lock,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Lock::Free);
        }
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Lock::Free),
        Err(TryLockError::WouldBlock) => address(&mut lock).map(Lock::Held),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes the store, or says who has it.
pub(super) fn take_alone(database: PathBuf) -> Result<Folder, NodeError> {
    match take(database.clone())? {
        Holder::Us(folder) => Ok(folder),
        Holder::Other(address) => Err(NodeError::Held { database, address }),
    }
}

fn address(lock: &mut File) -> std::io::Result<Option<SocketAddr>> {
    let deadline = Instant::now() + ADDRESS_WAIT;
    loop {
        let mut text = String::new();
        lock.rewind()?;
        lock.read_to_string(&mut text)?;
        let address = text.trim().parse().ok();
        if address.is_some() || Instant::now() >= deadline {
            return Ok(address);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Folder {
    /// Says where this process is reached.
    pub(super) fn announce(&mut self, address: SocketAddr) -> std::io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock.write_all(format!("{address}\n").as_bytes())?;
        self.lock.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_the_store_and_others_learn_where_it_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("new/haul.db");
        let Holder::Us(mut folder) = take(database.clone()).unwrap() else { panic!("nobody else has it") };
        let address: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        folder.announce(address).unwrap();
        let Holder::Other(found) = take(database.clone()).unwrap() else { panic!("it is taken") };
        assert_eq!(found, Some(address));
        assert_eq!(look(database.clone()).unwrap(), Lock::Held(Some(address)));
        drop(folder);
        assert_eq!(look(database.clone()).unwrap(), Lock::Free);
        assert!(matches!(take(database).unwrap(), Holder::Us(_)));
    }

    #[test]
    fn another_name_of_the_store_leads_to_the_same_lock() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("haul.db");
        std::fs::write(&database, "").unwrap();
        std::os::unix::fs::symlink(&database, dir.path().join("link.db")).unwrap();
        let Holder::Us(mut folder) = take(database).unwrap() else { panic!("nobody else has it") };
        folder.announce("127.0.0.1:4711".parse().unwrap()).unwrap();
        let name = dir.path().file_name().unwrap();
        for other in [dir.path().join("link.db"), dir.path().join("..").join(name).join("haul.db")] {
            assert!(matches!(take(other).unwrap(), Holder::Other(_)));
        }
    }

    #[test]
    fn a_look_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(dir.path().join("new/haul.db")).unwrap(), Lock::Free);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = take(dir.path().join("file/haul.db")).unwrap_err().to_string();
        assert!(error.contains("file") && error.contains("--data-dir"), "{error}");
    }
}
