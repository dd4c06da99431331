//! Backups: what operators ask for, and what they are told.

use serde::Serialize;

use super::json::{self, Fields};
use super::problem::{Code, Problem};
use crate::bounded::BoundedString;
use crate::jobs::backup::{Made, Name, NotMade};
use crate::time::Timestamp;

/// The body that asks for a backup; `{}` is one that is called by its time.
#[derive(Debug)]
pub struct Wanted {
    /// What it is to be called.
    pub name: Option<Name>,
    /// Where the caller believes that it will be.
    pub parent: Option<BoundedString<1, 4096>>,
    /// Whether private keys are to be in it.
    pub with_keys: bool,
}

/// Reads the body.
pub fn wanted(bytes: &[u8]) -> Result<Wanted, Problem> {
    json::parse(bytes, |value| {
        let mut fields = Fields::of(value)?;
        let name = fields.optional("name", json::parsed(Name::parse));
        let parent = fields.optional("parent", json::text);
        let with_keys = fields.optional("with_keys", json::boolean);
        fields.finish(|| {
            Some(Wanted {
                name,
                parent,
                with_keys: with_keys.unwrap_or(false),
            })
        })
    })
}

/// A backup that was just made.
#[derive(Debug, Serialize)]
pub struct Item {
    name: String,
    path: String,
    made_at: Timestamp,
    lsn: u64,
    tenants: u64,
    bytes: u64,
}

impl From<Made> for Item {
    fn from(made: Made) -> Self {
        Self {
            name: made.name,
            path: made.path.display().to_string(),
            made_at: made.at,
            lsn: made.lsn,
            tenants: made.tenants,
            bytes: made.bytes,
        }
    }
}

impl From<NotMade> for Problem {
    fn from(why: NotMade) -> Self {
        let code = match why {
            NotMade::NoDirectory => Code::NotFound,
            NotMade::Elsewhere { .. } | NotMade::Taken(_) => Code::IdempotencyConflict,
            NotMade::Busy => Code::Overloaded,
            NotMade::ShuttingDown => Code::ShuttingDown,
            NotMade::Failed(_) => Code::StorageFull,
        };
        Self::new(code, why.to_string())
    }
}
