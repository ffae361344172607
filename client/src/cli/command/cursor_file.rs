//! The file in which `haul results` keeps where it is.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    path::PathBuf,
};

use super::failure::Failure;
use crate::Error;

/// A cursor is shorter by far: a longer file is another one, named by mistake.
const FILE_MAX_BYTES: u64 = 4_096;

pub(super) struct CursorFile {
    path: PathBuf,
}

impl CursorFile {
    /// The file, and the cursor that an earlier run has left in it; empty where there is none. What cannot be written is
    /// found out here, before anything was printed that would be printed again.
    pub(super) fn open(path: PathBuf) -> Result<(Self, String), Failure> {
        let file = Self { path };
        let cursor = file.read().map_err(|error| file.failure("read", error))?;
        file.try_out().map_err(|error| file.failure("write", error))?;
        Ok((file, cursor))
    }

    /// Puts the new cursor in the place of the old one: whenever the machine stops, one of them is there.
    pub(super) fn write(&self, cursor: &str) -> Result<(), Failure> {
        self.replace(cursor).map_err(|error| self.failure("write", error))
    }

    /// An error, with the file named where it is about the cursor that stood in it.
    pub(super) fn in_its_words(&self, error: Error) -> Failure {
        if error.reason() == Some("INVALID_CURSOR") {
            return Failure::Cursor { path: self.path.clone(), error };
        }
        error.into()
    }

    fn read(&self) -> io::Result<String> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
            file => file?,
        };
        let mut text = String::new();
        if file.take(FILE_MAX_BYTES).read_to_string(&mut text)? as u64 == FILE_MAX_BYTES {
            return Err(io::Error::other("it is larger than a cursor: is it another file?"));
        }
        Ok(text.trim().to_owned())
    }

    fn try_out(&self) -> io::Result<()> {
        File::create(self.beside())?;
        fs::remove_file(self.beside())
    }

    fn replace(&self, cursor: &str) -> io::Result<()> {
        let mut file = File::create(self.beside())?;
        writeln!(file, "{cursor}")?;
        file.sync_all()?;
        fs::rename(self.beside(), &self.path)
    }

    fn beside(&self) -> OsString {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        beside
    }

    fn failure(&self, what: &'static str, source: io::Error) -> Failure {
        Failure::CursorFile { what, path: self.path.clone(), source }
    }
}
