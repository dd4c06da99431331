//! Secrets that are files of their own: never readable by anybody else, never half written.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

/// The name of the file in the data directory.
pub const SIGNING_KEY: &str = "signing.key";
const SIGNING_KEY_LINE: &str = "arf-signing-key/v1 ";
/// What it is.
const SIGNING_KEY_IS: &str = "one line `arf-signing-key/v1 <base64 of 32 bytes>`";
/// No secret of ours is longer; a wrong file is not read into memory.
const BYTES_MAX: u64 = 64 * 1024;

/// A secret that cannot be used; one line that names the file and the cure.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// Others may read it.
    #[error(
        "{} can be accessed by others (mode {mode:04o}); if nobody did, run: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not what it should be.
    #[error("{} is not {expected}; restore it from a backup", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// It is gone.
    #[error(
        "{} is missing, and entries must not be signed by another key; restore it from a backup",
        path.display()
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error(
        "{} cannot be {what}: {source}; make it readable and writable for this user alone",
        path.display()
    )]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What happened.
        source: io::Error,
    },
}

/// The key that signs this node's entries, from `<data>/signing.key`. The file is one line:
/// `arf-signing-key/v1 <base64 of 32 bytes>`.
pub fn load_signing_key(data: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let path = data.join(SIGNING_KEY);
    if !path.exists() {
        return Err(KeyFileError::Missing { path });
    }
    let text = read_private(&path)?;
    parse_signing_key(&text).ok_or(KeyFileError::Malformed {
        path,
        expected: SIGNING_KEY_IS,
    })
}

/// The same, made if there is none: only for a node that has signed nothing yet.
pub fn load_or_create_signing_key(data: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    match load_signing_key(data) {
        Err(KeyFileError::Missing { path }) => {
            let mut key = Zeroizing::new([0; 32]);
            let random = getrandom::fill(key.as_mut_slice());
            random.map_err(|error| io_error(&path, "made", error.into()))?;
            let encoded = Zeroizing::new(STANDARD.encode(key.as_slice()));
            let line = Zeroizing::new(format!("{SIGNING_KEY_LINE}{}\n", encoded.as_str()));
            fs::create_dir_all(data).map_err(|error| io_error(data, "made", error))?;
            write_private(&path, line.as_bytes())?;
            Ok(key)
        }
        loaded => loaded,
    }
}

/// Copies the key in `file` to `<data>/signing.key`.
pub fn copy_signing_key(file: &Path, data: &Path) -> Result<(), KeyFileError> {
    let text = read_private(file)?;
    parse_signing_key(&text).ok_or_else(|| KeyFileError::Malformed {
        path: file.to_owned(),
        expected: SIGNING_KEY_IS,
    })?;
    write_private(&data.join(SIGNING_KEY), &text)
}

fn parse_signing_key(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let line = text.strip_prefix(SIGNING_KEY_LINE.as_bytes())?;
    let encoded = line.strip_suffix(b"\n").unwrap_or(line);
    let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(key)
}

/// Writes a file that only this user can read (0600): in a new file beside it, synced, then renamed
/// over it, so that there is the old one or the new one, whole, whatever happens.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let written = |error| io_error(path, "written", error);
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(written)?;
    // A leftover of an earlier attempt keeps its mode when it is opened.
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(written)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(written)?;
    fs::rename(&new, path).map_err(written)?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(written)
}

/// Reads a file, if only this user can.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let read = |error| io_error(path, "read", error);
    let file = File::open(path).map_err(read)?;
    // Of the open file, not of the name: what is checked is what is read.
    let metadata = file.metadata().map_err(read)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(read)?;
    Ok(bytes)
}

fn io_error(path: &Path, what: &'static str, source: io::Error) -> KeyFileError {
    KeyFileError::Io {
        path: path.to_owned(),
        what,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let key = load_or_create_signing_key(&data).unwrap();
        assert_eq!(load_or_create_signing_key(&data).unwrap(), key);
        let path = data.join(SIGNING_KEY);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .starts_with("arf-signing-key/v1 ")
        );
        assert_ne!(*load_or_create_signing_key(dir.path()).unwrap(), *key);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create_signing_key(dir.path()).unwrap();
        let path = dir.path().join(SIGNING_KEY);
        for mode in [0o640, 0o604, 0o610, 0o602] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = load_or_create_signing_key(dir.path())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("chmod 600") && error.contains("signing.key"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SIGNING_KEY);
        let short = format!("{SIGNING_KEY_LINE}{}\n", STANDARD.encode([1; 31]));
        for text in [
            "",
            "arf-signing-key/v2 x",
            "arf-signing-key/v1 !!!",
            short.as_str(),
        ] {
            write_private(&path, text.as_bytes()).unwrap();
            let error = load_or_create_signing_key(dir.path()).unwrap_err();
            assert!(matches!(error, KeyFileError::Malformed { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_leftover_of_a_crash_is_overwritten_and_not_trusted_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (path, new) = (dir.path().join("secret"), dir.path().join("secret.new"));
        fs::write(&new, "half").unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o666)).unwrap();
        write_private(&path, b"whole").unwrap();
        assert_eq!(read_private(&path).unwrap().as_slice(), b"whole");
        assert!(!new.exists());
    }
}
