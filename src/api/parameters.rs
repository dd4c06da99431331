//! Query parameters: each is read at most once and none is ignored, so a misspelled filter is an error.

use super::json;
use super::page::{self, Cursor, Page};
use super::problem::Problem;
use crate::time::Timestamp;

/// The parameters of one request.
#[derive(Debug)]
pub struct Parameters {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Parameters {
    /// Reads the parameters with `read`, and rejects those that it does not ask for.
    pub fn read<T>(
        given: Vec<(String, String)>,
        read: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut names: Vec<_> = given.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if let Some(name) = names
            .windows(2)
            .find_map(|two| (two[0] == two[1]).then_some(two[0]))
        {
            return Err(Problem::invalid(format!("duplicate parameter `{name}`")));
        }
        let known = Vec::new();
        let mut parameters = Self { given, known };
        let value = read(&mut parameters)?;
        let Self { given, known } = parameters;
        match given
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            Some((name, _)) => Err(Problem::invalid(json::unknown("parameter", name, &known))),
            None => Ok(value),
        }
    }

    pub fn string(&mut self, name: &'static str) -> Option<&str> {
        self.known.push(name);
        let given = self.given.iter().find(|(given, _)| given == name);
        given.map(|(_, value)| value.as_str())
    }

    /// A value that `parse` reads, such as an id. Its error follows the name in a sentence.
    pub fn string_as<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let value = self.string(name).map(parse).transpose();
        value.map_err(|error| Problem::invalid(format!("`{name}` {error}")))
    }

    pub fn string_enum<T: Copy>(
        &mut self,
        name: &'static str,
        all: &[T],
        as_str: impl Fn(T) -> &'static str,
    ) -> Result<Option<T>, Problem> {
        self.string_as(name, |given| {
            let value = all.iter().copied().find(|&value| as_str(value) == given);
            value.ok_or_else(|| {
                let known: Vec<_> = all.iter().map(|&value| as_str(value)).collect();
                json::must_be_one_of(given, &known)
            })
        })
    }

    pub fn timestamp(&mut self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        let message = "must be an RFC 3339 timestamp, such as `2027-01-31T00:00:00Z`";
        self.string_as(name, |text| Timestamp::parse(text).ok_or(message))
    }

    /// False if absent.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Problem> {
        let flag = self.string_as(name, |text| match text {
            "false" => Ok(false),
            "true" | "" => Ok(true),
            _ => Err("must be true or false"),
        });
        Ok(flag?.unwrap_or(false))
    }

    /// `limit` and `cursor`.
    pub fn page<C: Cursor>(&mut self) -> Result<Page<C>, Problem> {
        let limit = self.string_as("limit", page::limit)?;
        let from = self.string_as("cursor", C::decode)?;
        Ok(Page {
            limit: limit.unwrap_or(page::LIMIT_DEFAULT),
            from: from.unwrap_or(C::START),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Action;
    use crate::id::Sequence;

    type Read = (Option<Action>, Option<Timestamp>, bool, Page<Sequence>);

    fn read(given: &[(&str, &str)]) -> Result<Read, String> {
        let given = given
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let read = Parameters::read(given.collect(), |parameters| {
            Ok((
                parameters.string_enum("action", Action::ALL, Action::as_str)?,
                parameters.timestamp("from")?,
                parameters.flag("dry_run")?,
                parameters.page()?,
            ))
        });
        read.map_err(|problem| problem.detail)
    }

    #[test]
    fn what_is_given_is_read() {
        let given = [
            ("from", "2026-01-01T00:00:00Z"),
            ("dry_run", ""),
            ("action", "deny"),
        ];
        let (action, from, dry_run, page) = read(&given).unwrap();
        assert_eq!(
            (action, from.is_some(), dry_run),
            (Some(Action::Deny), true, true)
        );
        assert_eq!(page.limit, 100);
        assert!(!read(&[]).unwrap().2);
    }

    #[test]
    fn what_is_wrong_is_reported() {
        let twice = [("dry_run", "true"), ("dry_run", "false")];
        let cases: [(&[(&str, &str)], &str); 5] = [
            (
                &[("acton", "deny")],
                "unknown parameter `acton`; did you mean `action`?",
            ),
            (&twice, "duplicate parameter `dry_run`"),
            (
                &[("action", "denyy")],
                "`action` must be one of `approve`, `deny`, `escalate`; did you mean `deny`?",
            ),
            (
                &[("from", "today")],
                "`from` must be an RFC 3339 timestamp, such as `2027-01-31T00:00:00Z`",
            ),
            (&[("dry_run", "no")], "`dry_run` must be true or false"),
        ];
        for (given, message) in cases {
            assert_eq!(read(given).unwrap_err(), message);
        }
    }
}
