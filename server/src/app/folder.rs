//! The data folder: one process at a time has the store, and says where it is reached.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    net::SocketAddr,
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

/// Takes the store, unless another process has it.
pub(super) fn take(database: PathBuf) -> Result<Holder, FolderError> {
    let folder = database
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
        .to_owned();
    let failed = |source| FolderError { folder: folder.clone(), source };
    if folder.exists() && !folder.is_dir() {
        return Err(failed(std::io::ErrorKind::NotADirectory.into()));
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    // Whatever name leads to it: one store, one lock.
    let database = match std::fs::canonicalize(&database) {
        Ok(database) => database,
        Err(_) => match (std::fs::canonicalize(&folder), database.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            _ => database,
        },
    };
    let mut path = database.clone().into_os_string();
    path.push(".lock");
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
        drop(folder);
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
    fn a_folder_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = take(dir.path().join("file/haul.db")).unwrap_err().to_string();
        assert!(error.contains("file") && error.contains("--data-dir"), "{error}");
    }
}
