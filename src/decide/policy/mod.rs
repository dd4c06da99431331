//! Policies: what they deny and what they escalate, whatever the risk (rules.md 8).

mod built_in;

use std::borrow::Cow;

use super::evidence::Evidence;
use super::intent::Intent;
use super::rules::Rules;

/// Each list in the order of the policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Policies that deny. A policy that could not be evaluated is one of them.
    pub violations: Vec<Finding>,
    pub escalations: Vec<Finding>,
}

/// A policy that applies.
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
