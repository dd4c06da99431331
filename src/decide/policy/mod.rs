//! Hard rules: what they forbid and what they send to a person, whatever the risk (rules.md 8).

mod built_in;

use std::borrow::Cow;

use super::evidence::Evidence;
use super::intent::Intent;
use super::rules::Rules;

/// What the policies say about one intent; each list in the order of the policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Policies that forbid it. A policy that could not be evaluated is one of them.
    pub violations: Vec<Finding>,
    /// Policies that want a person to decide.
    pub escalations: Vec<Finding>,
}

/// One policy that applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its stable id, kebab-case.
    pub policy: Cow<'static, str>,
    /// Why it applies, with its numbers: lower case, without a final stop.
    pub reason: String,
}

/// Asks every policy in force.
pub fn judge(intent: &Intent, evidence: &Evidence, rules: &Rules) -> Findings {
    Findings {
        violations: Vec::new(),
        escalations: built_in::escalations(intent, evidence, rules),
    }
}
