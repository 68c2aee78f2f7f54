//! A file that holds a secret, named by its path or as a credential of systemd.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::system::file_error;

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

    /// Reads the secret.
    pub fn read(&self) -> std::io::Result<Zeroizing<Vec<u8>>> {
        let path = self.resolved()?;
        std::fs::read(&path).map(Zeroizing::new).map_err(file_error::at(&path))
    }

    /// Returns the path of the file.
    ///
    /// Errors: a credential, and systemd gives none to this process.
    pub fn resolved(&self) -> std::io::Result<PathBuf> {
        let directory = std::env::var_os(DIRECTORY).map(PathBuf::from);
        self.path_in(directory.as_deref())
    }

    /// Returns the path of the file. `directory` holds the credentials.
    fn path_in(&self, directory: Option<&Path>) -> std::io::Result<PathBuf> {
        match (self, directory) {
            (Self::Path(path), _) => Ok(path.clone()),
            (Self::Credential(name), Some(directory)) => Ok(directory.join(name)),
            (Self::Credential(_), None) => {
                let what = format!("${DIRECTORY} is not set: start the server by systemd, or name a path");
                Err(std::io::Error::new(std::io::ErrorKind::NotFound, what))
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
}
