//! A file of keys, below one of the configured folders or by http(s).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use url::Url;

use super::{PAGE_ITEMS, Page, Source, SourceError};
use crate::domain::{
    failure::{Failure, FailureClass},
    spec::FileSource,
};

pub mod read;
pub mod remote;

use read::{FilePage, FileReader, ReadError};

/// Folders that files may be read from.
#[derive(Debug, Clone, Default)]
pub struct Roots(Vec<PathBuf>);

/// Why a `file:` URI is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not a `file:` URI of this machine.
    #[error("{0:?} is no file: URI with an absolute path")]
    NotAFile(String),
    /// Not below a configured folder.
    #[error("{path:?} is not below a folder that files may be read from ({roots}); add one with --file-root")]
    Outside {
        /// What was asked for.
        path: PathBuf,
        /// What is allowed.
        roots: String,
    },
    /// There is nothing to read.
    #[error("{path:?} cannot be read: {problem}")]
    Missing {
        /// What was asked for.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
}

impl Roots {
    /// These folders. Each must exist; links are followed once, here.
    pub fn new(folders: &[PathBuf]) -> std::io::Result<Self> {
        folders.iter().map(std::fs::canonicalize).collect::<std::io::Result<_>>().map(Self)
    }

    /// The path of a `file:` URI, with links followed, if it is below one of the folders. What lies outside is refused
    /// before anything is asked about it.
    pub fn resolve(&self, uri: &str) -> Result<PathBuf, PathError> {
        let not_a_file = || PathError::NotAFile(uri.to_owned());
        let url = Url::parse(uri).map_err(|_| not_a_file())?;
        let path = Some(&url).filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
        let path = path.ok_or_else(not_a_file)?;
        let outside = || PathError::Outside { path: path.clone(), roots: self.names() };
        match std::fs::canonicalize(&path) {
            Ok(real) if self.holds(&real) => Ok(real),
            Err(error) if self.holds(&path) => {
                Err(PathError::Missing { path: path.clone(), problem: error.to_string() })
            }
            Ok(_) | Err(_) => Err(outside()),
        }
    }

    fn holds(&self, path: &Path) -> bool {
        self.0.iter().any(|root| path.starts_with(root))
    }

    fn names(&self) -> String {
        if self.0.is_empty() {
            return "none is configured".to_owned();
        }
        self.0.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// A file of keys of this machine, read in pages.
pub struct KeyFile {
    spec: FileSource,
    roots: Arc<Roots>,
    /// The reader and the position that it stands at.
    reader: Option<(FileReader, Option<String>)>,
}

impl KeyFile {
    pub(super) fn new(spec: FileSource, roots: Arc<Roots>) -> Self {
        Self { spec, roots, reader: None }
    }
}

#[async_trait]
impl Source for KeyFile {
    async fn page(&mut self, position: Option<&str>) -> Result<Page, SourceError> {
        let path =
            self.roots.resolve(&self.spec.uri).map_err(|error| SourceError::Unreadable(error.to_string()))?;
        let spec = self.spec.clone();
        let position = position.map(str::to_owned);
        let kept = self.reader.take().filter(|(_, at)| *at == position).map(|(reader, _)| reader);
        let open = move || match kept {
            Some(reader) => Ok(reader),
            None => FileReader::open(&path, &spec, position.as_deref()),
        };
        let (reader, page) = read_page(open).await?;
        self.reader = Some((reader, page.next.clone()));
        Ok(Page { items: page.items, next: page.next, list: None })
    }
}

/// The next page of a reader, beside the runtime's threads.
#[allow(private_bounds, reason = "what it reads from is this source's own matter")]
async fn read_page<C: read::Content + Send + 'static>(
    open: impl FnOnce() -> Result<FileReader<C>, ReadError> + Send + 'static,
) -> Result<(FileReader<C>, FilePage), SourceError> {
    let read = move || {
        let mut reader = open()?;
        let page = reader.page(PAGE_ITEMS)?;
        Ok((reader, page))
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read.map_err(source_error),
        Err(error) => Err(SourceError::Unreadable(format!("the file's reader failed: {error}"))),
    }
}

fn source_error(error: ReadError) -> SourceError {
    match error {
        ReadError::Unreadable(what) => SourceError::Unreadable(what),
        ReadError::Io(error) => {
            SourceError::Temporary(Failure::new(FailureClass::Temporary, "FILE_IO", &error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_a_root_is_read_links_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("keys");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("a.txt"), "1301\n").unwrap();
        std::fs::write(folder.path().join("secret.txt"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.txt"), root.join("link.txt")).unwrap();
        let roots = Roots::new(std::slice::from_ref(&root)).unwrap();
        let resolve = |path: PathBuf| roots.resolve(&format!("file://{}", path.display()));

        assert_eq!(resolve(root.join("a.txt")), Ok(std::fs::canonicalize(root.join("a.txt")).unwrap()));
        for outside in [root.join("link.txt"), root.join("../secret.txt"), folder.path().join("nothing.txt")]
        {
            assert!(matches!(resolve(outside.clone()), Err(PathError::Outside { .. })), "{outside:?}");
        }
        assert!(matches!(resolve(root.join("missing.txt")), Err(PathError::Missing { .. })));
        for bad in ["a.txt", "http://host/a.txt", "file://host/a.txt", ""] {
            assert!(matches!(roots.resolve(bad), Err(PathError::NotAFile(_))), "{bad}");
        }
        assert!(
            Roots::default().resolve("file:///etc/hostname").unwrap_err().to_string().contains("--file-root")
        );
    }
}
