//! Query parameters: each read once, and none ignored, so that a misspelt filter cannot let all pass.

use std::collections::HashMap;

use super::json;
use super::page::{Cursor, Page};
use super::problem::Problem;
use crate::time::Timestamp;

/// The parameters of one request.
#[derive(Debug)]
pub struct Parameters(HashMap<String, String>);

impl Parameters {
    /// The parameters of a route that knows these. One that is given twice is ambiguous, and refused.
    pub fn new(given: Vec<(String, String)>, known: &[&'static str]) -> Result<Self, Problem> {
        let mut parameters = HashMap::new();
        for (name, value) in given {
            if !known.contains(&name.as_str()) {
                return Err(json::unknown_parameter(&name, known));
            }
            if parameters.insert(name.clone(), value).is_some() {
                return Err(Problem::invalid(format!(
                    "`{name}` must not be given twice"
                )));
            }
        }
        Ok(Self(parameters))
    }

    /// The text of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// One of a closed vocabulary.
    pub fn enum_value<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let read = |text| {
            read(text).ok_or_else(|| Problem::invalid(format!("`{name}` has no value `{text}`")))
        };
        self.get(name).map(read).transpose()
    }

    /// A time.
    pub fn moment(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        self.enum_value(name, Timestamp::parse)
            .map_err(|_| Problem::invalid(format!("`{name}` must be an RFC 3339 time")))
    }

    /// True, false, or absent, which is false.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(_) => Err(Problem::invalid(format!("`{name}` must be true or false"))),
        }
    }

    /// Which page is asked for: `limit` and `cursor`.
    pub fn page<C: Cursor>(&self) -> Result<Page<C>, Problem> {
        Page::parse(self.get("limit"), self.get("cursor"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Sequence;

    fn parameters(given: &[(&str, &str)]) -> Result<Parameters, Problem> {
        let given = given
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Parameters::new(
            given.collect(),
            &["action", "from", "dry_run", "limit", "cursor"],
        )
    }

    #[test]
    fn a_misspelt_parameter_is_told() {
        let problem = parameters(&[("acton", "deny")]).unwrap_err();
        assert_eq!(
            problem.detail,
            "unknown parameter `acton`; did you mean `action`?"
        );
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        assert!(parameters(&[("dry_run", "true"), ("dry_run", "false")]).is_err());
    }

    #[test]
    fn values_are_read_or_refused() {
        let good = parameters(&[("from", "2026-01-01T00:00:00Z"), ("dry_run", "")]).unwrap();
        assert!(good.moment("from").unwrap().is_some() && good.flag("dry_run").unwrap());
        assert!(!good.flag("action").unwrap() && good.page::<Sequence>().is_ok());
        let bad = parameters(&[("from", "today"), ("dry_run", "no"), ("action", "x")]).unwrap();
        assert!(bad.moment("from").is_err() && bad.flag("dry_run").is_err());
        assert!(
            bad.enum_value("action", crate::decide::Action::parse)
                .is_err()
        );
    }
}
