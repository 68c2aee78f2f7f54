//! A file that holds a secret, named by its path or as a credential of systemd.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::system::{bounded_file, file_error};
use crate::value::file_text;

/// The most bytes of a secret.
const BYTES_MAX: usize = 64 * 1024;
/// The prefix of the name of a credential.
const CREDENTIAL: &str = "credential:";
/// The variable by which systemd says where credentials are (`LoadCredential=`, `LoadCredentialEncrypted=`).
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The place of a secret. The file is read when the secret is needed, since commands that ask a running server need
/// none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretFile {
    /// A path.
    Path(PathBuf),
    /// The name of a credential in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl SecretFile {
    /// Reads `text`: a path, or `credential:` and the name of a credential. `None` if that name is a path.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(CREDENTIAL) {
            None => Some(Self::Path(PathBuf::from(text))),
            Some(name) if name.is_empty() || name.contains('/') || name.starts_with('.') => None,
            Some(name) => Some(Self::Credential(name.to_owned())),
        }
    }

    /// Reads the secret: all bytes of the file, as they are.
    pub fn read(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let path = self.resolved()?;
        bounded_file::read(&path, BYTES_MAX).map(Zeroizing::new).map_err(file_error::at(&path))
    }

    /// Reads the secret that is the first line of the file, without a byte order mark and its line end. Blanks stay: a
    /// password may begin or end with one.
    ///
    /// Errors: of the kind `InvalidData`, if the file is not UTF-8, or its first line is empty.
    pub fn read_line(&self) -> io::Result<Zeroizing<String>> {
        let bytes = self.read()?;
        let wrong =
            |why: &dyn fmt::Display| io::Error::new(io::ErrorKind::InvalidData, format!("{self}: {why}"));
        let text = file_text::text(&bytes).map_err(|error| wrong(&error))?;
        match file_text::first_line(text) {
            "" => Err(wrong(&"its first line is empty; write the secret into it")),
            line => Ok(Zeroizing::new(line.to_owned())),
        }
    }

    /// Returns the path of the file.
    ///
    /// Errors: a credential, and systemd gives none to this process.
    pub fn resolved(&self) -> io::Result<PathBuf> {
        let directory = std::env::var_os(DIRECTORY).map(PathBuf::from);
        self.path_in(directory.as_deref())
    }

    /// Returns the path of the file. `directory` holds the credentials.
    fn path_in(&self, directory: Option<&Path>) -> io::Result<PathBuf> {
        match (self, directory) {
            (Self::Path(path), _) => Ok(path.clone()),
            (Self::Credential(name), Some(directory)) => Ok(directory.join(name)),
            (Self::Credential(_), None) => {
                let what = format!("${DIRECTORY} is not set: start the server by systemd, or name a path");
                Err(io::Error::new(io::ErrorKind::NotFound, what))
            }
        }
    }

    /// Returns the path, if it is not a credential.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Credential(_) => None,
        }
    }
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Credential(name) => write!(f, "{CREDENTIAL}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_path_or_a_credential() {
        let path = SecretFile::parse("/etc/master").unwrap();
        assert_eq!(path.path_in(None).unwrap(), Path::new("/etc/master"));
        let credential = SecretFile::parse("credential:master").unwrap();
        let directory = Path::new("/run/credentials/portcullis.service");
        assert_eq!(credential.path_in(Some(directory)).unwrap(), directory.join("master"));
        assert!(credential.path_in(None).unwrap_err().to_string().contains(DIRECTORY));
        assert_eq!(credential.to_string(), "credential:master");
        for wrong in ["credential:", "credential:../master", "credential:.x"] {
            assert_eq!(SecretFile::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_has_no_byte_order_mark_and_no_line_end_and_is_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let file = SecretFile::Path(path.clone());
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            (file.read().unwrap().to_vec(), file.read_line().map(|line| line.to_string()).ok())
        };
        for (bytes, line) in [
            (&b"\xEF\xBB\xBFsecret\r\n"[..], Some("secret")),
            (b" secret \n", Some(" secret ")),
            (b"secret", Some("secret")),
            (b"\xEF\xBB\xBF\n", None),
            (b"", None),
            (b"\xEF\xBB\xBF\xFF\0", None),
        ] {
            // A secret of bytes stays as it is: something may have been sealed with all of them.
            assert_eq!(read(bytes), (bytes.to_vec(), line.map(ToOwned::to_owned)), "{bytes:?}");
        }
        std::fs::write(&path, "\n").unwrap();
        let error = file.read_line().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("first line is empty"), "{error}");
    }
}
