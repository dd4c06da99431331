//! The manifest: which format the data directory has, and how often it was started.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::io;

use super::dir::{DataDir, MANIFEST};
use super::disk::len_u64;

const NEW: &str = "MANIFEST.new";

/// The format of data directories that this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// `data/MANIFEST`, one line of text: `arf-data/<format> boot-epoch=<n> crc32=<8 hex digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manifest {
    /// How often the store was started; every frame carries the epoch that wrote it.
    pub boot_epoch: u32,
}

/// What can be wrong with a manifest.
#[derive(Debug)]
pub(super) enum BadManifest {
    /// It could not be read or written.
    Io(io::Error),
    /// It was written by a later version, with this format.
    Newer(u32),
    /// It is not a manifest.
    Damaged,
}

impl From<io::Error> for BadManifest {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Manifest {
    /// The manifest of this data directory; `None` if there is none yet.
    pub fn load(data: &DataDir) -> Result<Option<Self>, BadManifest> {
        match data.disk().read(&data.at(MANIFEST)) {
            Ok(bytes) => Self::parse(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the manifest, durably.
    pub fn save(self, data: &DataDir) -> io::Result<()> {
        let (disk, new) = (data.disk(), data.at(NEW));
        let text = self.render();
        disk.create(&new, text.as_bytes(), len_u64(text.as_bytes()))?;
        disk.rename(&new, &data.at(MANIFEST))?;
        disk.sync_dir(data.path())
    }

    fn render(self) -> String {
        let fields = format!("arf-data/{FORMAT} boot-epoch={}", self.boot_epoch);
        format!(
            "{fields} crc32={:08x}\n",
            crc32fast::hash(fields.as_bytes())
        )
    }

    fn parse(bytes: &[u8]) -> Result<Self, BadManifest> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadManifest::Damaged)?;
        let (format, rest) = text
            .strip_prefix("arf-data/")
            .and_then(|rest| rest.split_once(' '))
            .ok_or(BadManifest::Damaged)?;
        match format.parse() {
            Ok(FORMAT) => {}
            Ok(newer) if newer > FORMAT => return Err(BadManifest::Newer(newer)),
            _ => return Err(BadManifest::Damaged),
        }
        let boot_epoch = rest
            .strip_prefix("boot-epoch=")
            .and_then(|rest| rest.split_once(' '))
            .and_then(|(epoch, _)| epoch.parse().ok())
            .ok_or(BadManifest::Damaged)?;
        let manifest = Self { boot_epoch };
        // One spelling only: whatever differs from what would be written is damage.
        if manifest.render() == text {
            Ok(manifest)
        } else {
            Err(BadManifest::Damaged)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_and_is_readable() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::real(dir.path());
        assert_eq!(Manifest::load(&data).unwrap(), None);
        for boot_epoch in [1, u32::MAX] {
            let manifest = Manifest { boot_epoch };
            manifest.save(&data).unwrap();
            assert_eq!(Manifest::load(&data).unwrap(), Some(manifest));
        }
        assert_eq!(
            Manifest { boot_epoch: 7 }.render(),
            "arf-data/1 boot-epoch=7 crc32=dd685654\n"
        );
    }

    #[test]
    fn a_newer_format_and_damage_are_told_apart() {
        let parse = |text: &str| Manifest::parse(text.as_bytes());
        assert!(matches!(
            parse("arf-data/2 whatever"),
            Err(BadManifest::Newer(2))
        ));
        for bad in [
            "",
            "arf-data/0 x",
            "arf-data/1 boot-epoch=7",
            "arf-data/1 boot-epoch=7 crc32=0\n",
        ] {
            assert!(matches!(parse(bad), Err(BadManifest::Damaged)), "{bad}");
        }
    }
}
