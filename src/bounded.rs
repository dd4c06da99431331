//! Strings and lists whose types bound their length.

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must have {min} to {max} characters")]
pub struct LengthError {
    min: usize,
    max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct BoundedString<const MIN: usize, const MAX: usize>(String);

impl<const MIN: usize, const MAX: usize> BoundedString<MIN, MAX> {
    /// The length is in characters.
    pub fn new(text: impl Into<String>) -> Result<Self, LengthError> {
        let text = text.into();
        if (MIN..=MAX).contains(&text.chars().count()) {
            Ok(Self(text))
        } else {
            Err(LengthError { min: MIN, max: MAX })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<String> for BoundedString<MIN, MAX> {
    type Error = LengthError;
    fn try_from(text: String) -> Result<Self, LengthError> {
        Self::new(text)
    }
}

impl<const MIN: usize, const MAX: usize> From<BoundedString<MIN, MAX>> for String {
    fn from(text: BoundedString<MIN, MAX>) -> String {
        text.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must have at most {max} items")]
pub struct CountError {
    max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>")]
pub struct BoundedVec<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> BoundedVec<T, MAX> {
    pub fn new(items: Vec<T>) -> Result<Self, CountError> {
        if items.len() <= MAX {
            Ok(Self(items))
        } else {
            Err(CountError { max: MAX })
        }
    }

    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T, const MAX: usize> Default for BoundedVec<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for BoundedVec<T, MAX> {
    type Error = CountError;
    fn try_from(items: Vec<T>) -> Result<Self, CountError> {
        Self::new(items)
    }
}

impl<T, const MAX: usize> From<BoundedVec<T, MAX>> for Vec<T> {
    fn from(items: BoundedVec<T, MAX>) -> Vec<T> {
        items.0
    }
}
