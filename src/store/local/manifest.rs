//! The manifest: which versions of arf a data directory needs, and how often it was started.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use super::dir::{DataDir, MANIFEST};
use super::disk::len_u64;
use super::schema::Schema;

const NEW: &str = "MANIFEST.new";
const WRITER: &str = "newest-writer=";
const TABLES: &str = "tables=";
const EPOCH: &str = "boot-epoch=";

/// The format of data directories that this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// `data/MANIFEST`, one line of text:
/// `arf-data/<format> newest-writer=<version> tables=<id>:<version>,… boot-epoch=<n> crc32=<8 hex digits>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Manifest {
    /// The newest version of arf that started here.
    pub newest_writer: Version,
    /// Every table, with the newest version of its rows, that any of them knew.
    tables: BTreeMap<u8, u16>,
    /// How often the store was started; every frame carries the epoch that wrote it.
    pub boot_epoch: u32,
}

/// A version of arf: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Version(u32, u32, u32);

impl Version {
    /// Of this program.
    pub fn current() -> Self {
        Self::parse(env!("CARGO_PKG_VERSION")).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let release = text.split(['-', '+']).next()?;
        let mut numbers = release.split('.').map(|number| number.parse().ok());
        let version = Self(numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What can be wrong with a manifest.
#[derive(Debug)]
pub(super) enum ManifestError {
    /// It could not be read or written.
    Io(io::Error),
    /// It was written by a later version, in this format.
    Newer(u32),
    /// It is not a manifest.
    Damaged,
}

impl From<io::Error> for ManifestError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Manifest {
    /// The manifest of this data directory; `None` if there is none yet.
    pub fn load(data: &DataDir) -> Result<Option<Self>, ManifestError> {
        match data.disk().read(&data.at(MANIFEST)) {
            Ok(bytes) => Self::parse(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest writer that a manifest of any format names, if it is newer than this version.
    pub fn newer_writer(data: &DataDir) -> Option<Version> {
        let bytes = data.disk().read(&data.at(MANIFEST)).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let field = |field: &str| Version::parse(field.strip_prefix(WRITER)?);
        let writer = text.split(' ').find_map(field)?;
        (writer > Version::current()).then_some(writer)
    }

    /// After a start of this version in this epoch.
    pub fn started(mut self, boot_epoch: u32, schema: &Schema) -> Self {
        self.boot_epoch = boot_epoch;
        self.newest_writer = self.newest_writer.max(Version::current());
        for table in schema.all() {
            let version = self.tables.entry(table.id).or_default();
            *version = table.version.max(*version);
        }
        self
    }

    /// What another version may have written that this one cannot read.
    pub fn unknown(&self, schema: &Schema) -> Option<String> {
        self.tables
            .iter()
            .find_map(|(id, version)| match schema.get(*id) {
                None => Some(format!("table {id}")),
                Some(table) if *version > table.version => {
                    Some(format!("version {version} of table `{}`", table.name))
                }
                Some(_) => None,
            })
    }

    /// Replaces the manifest, durably.
    pub fn save(&self, data: &DataDir) -> io::Result<()> {
        let (disk, new) = (data.disk(), data.at(NEW));
        let text = self.render();
        disk.create(&new, text.as_bytes(), len_u64(text.as_bytes()))?;
        disk.rename(&new, &data.at(MANIFEST))?;
        disk.sync_dir(data.path())
    }

    fn render(&self) -> String {
        let tables: Vec<_> = self
            .tables
            .iter()
            .map(|(id, version)| format!("{id}:{version}"))
            .collect();
        let fields = format!(
            "arf-data/{FORMAT} {WRITER}{} {TABLES}{} {EPOCH}{}",
            self.newest_writer,
            tables.join(","),
            self.boot_epoch
        );
        format!(
            "{fields} crc32={:08x}\n",
            crc32fast::hash(fields.as_bytes())
        )
    }

    fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::Damaged)?;
        let (format, rest) = text
            .strip_prefix("arf-data/")
            .and_then(|rest| rest.split_once(' '))
            .ok_or(ManifestError::Damaged)?;
        match format.parse() {
            Ok(FORMAT) => {}
            Ok(newer) if newer > FORMAT => return Err(ManifestError::Newer(newer)),
            _ => return Err(ManifestError::Damaged),
        }
        // One spelling only: whatever differs from what would be written is damage.
        Self::parse_fields(rest)
            .filter(|manifest| manifest.render() == text)
            .ok_or(ManifestError::Damaged)
    }

    fn parse_fields(text: &str) -> Option<Self> {
        let mut fields = text.split(' ');
        let writer = fields.next()?.strip_prefix(WRITER)?;
        let tables = fields.next()?.strip_prefix(TABLES)?.split(',');
        let tables = tables.filter(|table| !table.is_empty()).map(|table| {
            let (id, version) = table.split_once(':')?;
            Some((id.parse().ok()?, version.parse().ok()?))
        });
        Some(Self {
            newest_writer: Version::parse(writer)?,
            tables: tables.collect::<Option<_>>()?,
            boot_epoch: fields.next()?.strip_prefix(EPOCH)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use crate::store::table::{KeyKind, Load, TableSpec};

    static TABLE: [TableSpec; 1] = [TableSpec {
        id: 7,
        name: "facts",
        load: Load::Hot,
        key_kind: KeyKind::Natural,
        version: 2,
    }];

    #[test]
    fn a_manifest_comes_back_and_is_readable() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::real(dir.path());
        let schema = Schema::new(&TABLE);
        assert_eq!(Manifest::load(&data).unwrap(), None);
        for boot_epoch in [1, u32::MAX] {
            let manifest = Manifest::default().started(boot_epoch, &schema);
            manifest.save(&data).unwrap();
            assert_eq!(Manifest::load(&data).unwrap(), Some(manifest));
        }
        let mut manifest = Manifest::default().started(7, &schema);
        manifest.newest_writer = Version(1, 20, 3);
        golden::check("store_manifest.txt", &manifest.render());
    }

    #[test]
    fn the_newest_writer_and_its_tables_stay() {
        let schema = Schema::new(&TABLE);
        let mut newer = Manifest::default().started(1, &schema);
        newer.newest_writer = Version(9, 0, 0);
        newer.tables.insert(7, 3);
        newer.tables.insert(8, 1);
        let again = newer.clone().started(2, &schema);
        assert_eq!(
            (again.newest_writer, &again.tables),
            (newer.newest_writer, &newer.tables)
        );
        assert_eq!(
            again.unknown(&schema).unwrap(),
            "version 3 of table `facts`"
        );
        newer.tables.insert(7, 2);
        assert_eq!(newer.unknown(&schema).unwrap(), "table 8");
        newer.tables.remove(&8);
        assert_eq!(newer.unknown(&schema), None);
    }

    #[test]
    fn versions_compare_by_number() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("0.10.0") > version("0.9.12"));
        assert_eq!(version("1.2.3-rc.1").to_string(), "1.2.3");
        assert_eq!(Version::parse("1.2"), None);
    }

    #[test]
    fn a_newer_format_and_damage_are_told_apart() {
        let parse = |text: &str| Manifest::parse(text.as_bytes());
        assert!(matches!(
            parse("arf-data/2 whatever"),
            Err(ManifestError::Newer(2))
        ));
        for bad in [
            "",
            "arf-data/0 x",
            "arf-data/1 newest-writer=0.1.0 tables= boot-epoch=7",
            "arf-data/1 newest-writer=0.1.0 tables= boot-epoch=7 crc32=0\n",
        ] {
            assert!(matches!(parse(bad), Err(ManifestError::Damaged)), "{bad}");
        }
    }
}
