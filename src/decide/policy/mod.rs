//! Policies deny or escalate, whatever the risk (rules.md 8).

mod built_in;

use std::borrow::Cow;

use super::evidence::Evidence;
use super::intent::Intent;
use super::rules::Rules;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Includes policies that could not be evaluated.
    pub violations: Vec<Finding>,
    pub escalations: Vec<Finding>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable id, kebab-case.
    pub policy: Cow<'static, str>,
    /// Why it applies, with its numbers: lower case, without a final stop.
    pub reason: String,
}

pub fn evaluate(intent: &Intent, evidence: &Evidence, rules: &Rules) -> Findings {
    Findings {
        violations: Vec::new(),
        escalations: built_in::escalations(intent, evidence, rules),
    }
}
