//! The report of a gate, as text for a terminal, JSON for programs and Markdown for a pull request.
//!
//! First what a person decides, then what is denied and why, then what is approved, folded; at the end
//! how many outcomes each category needs to be decided without a person.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::super::exit::Exit;
use crate::decide::decision::Reason;
use crate::decide::intent::{ChangeSet, Environment, Operation};
use crate::decide::settings::Enforcement;
use crate::decide::{Action, Category};
use crate::id::{DecisionId, IntentId};
use crate::tenant::standing::State;

#[derive(Debug)]
pub struct Report {
    /// `None` offline.
    pub change_set: Option<ChangeSet>,
    pub enforcement: Enforcement,
    /// In the order of the plan.
    pub items: Vec<ChangeReport>,
    /// Of the categories in the plan.
    pub readiness: Vec<Readiness>,
}

/// The ids and the standing are `None` offline.
#[derive(Debug, Serialize)]
pub struct ChangeReport {
    pub address: String,
    pub operation: Operation,
    pub environment: Environment,
    pub category: Category,
    pub action: Action,
    pub standing: Option<State>,
    pub justification: String,
    pub reasons: Vec<Reason>,
    pub risk_score: f64,
    pub deterministic_id: Option<IntentId>,
    pub decision_id: Option<DecisionId>,
    /// The id of its review, while it is pending.
    pub review: Option<DecisionId>,
    pub replayed: bool,
}

impl ChangeReport {
    /// The action after a reviewer's verdict and expiry.
    fn outcome(&self) -> Action {
        match self.standing {
            None => self.action,
            Some(State::Approved) => Action::Approve,
            Some(State::Pending) => Action::Escalate,
            Some(State::Denied | State::Expired | State::Closed) => Action::Deny,
        }
    }
}

/// The outcomes of a category, and how many more let it be decided without a person.
#[derive(Debug, Clone, Copy)]
pub struct Outcomes {
    pub trials: u64,
    pub needed: u64,
}

/// The outcomes that a category has, and those it needs to be decided without a person.
#[derive(Debug, Serialize)]
pub struct Readiness {
    category: Category,
    have: u64,
    need: u64,
}

impl Readiness {
    /// Of the categories of `items`.
    pub fn of(items: &[ChangeReport], outcomes: impl Fn(Category) -> Outcomes) -> Vec<Self> {
        let used = |category: &&Category| items.iter().any(|item| item.category == **category);
        let ready = |&category| {
            let Outcomes { trials, needed } = outcomes(category);
            Self {
                category,
                have: trials,
                need: trials.saturating_add(needed),
            }
        };
        Category::ALL.iter().filter(used).map(ready).collect()
    }

    fn sentence(&self) -> String {
        let (category, have, need) = (self.category, self.have, self.need);
        match need.saturating_sub(have) {
            0 => format!("{category}: ready ({have} outcomes)"),
            missing => format!(
                "{category}: {have} of {need} outcomes; a person decides until {missing} more are in"
            ),
        }
    }
}

impl Report {
    /// Of a plan without changes.
    pub fn empty() -> Self {
        Self {
            change_set: None,
            enforcement: Enforcement::Full,
            items: Vec::new(),
            readiness: Vec::new(),
        }
    }

    /// A denial outranks an escalation.
    pub fn worst(&self) -> Action {
        let any = |action| self.items.iter().any(|item| item.outcome() == action);
        if any(Action::Deny) {
            Action::Deny
        } else if any(Action::Escalate) {
            Action::Escalate
        } else {
            Action::Approve
        }
    }

    fn with_outcome(&self, action: Action) -> Vec<&ChangeReport> {
        self.items
            .iter()
            .filter(|item| item.outcome() == action)
            .collect()
    }

    fn summary(&self) -> String {
        if self.items.is_empty() {
            return "No changes.".to_owned();
        }
        let count = |action| self.with_outcome(action).len();
        let (approved, denied) = (count(Action::Approve), count(Action::Deny));
        let pending = count(Action::Escalate);
        let changes = if self.items.len() == 1 {
            "change"
        } else {
            "changes"
        };
        let total = self.items.len();
        format!("{total} {changes}: {pending} for a person, {denied} denied, {approved} approved.")
    }

    /// What is not approved, by who decides.
    fn blocked(&self) -> impl Iterator<Item = (&'static str, Vec<&ChangeReport>)> {
        let sections = [
            ("A person decides", Action::Escalate),
            ("Denied", Action::Deny),
        ];
        let with_items = sections.map(|(title, action)| (title, self.with_outcome(action)));
        with_items
            .into_iter()
            .filter(|(_, items)| !items.is_empty())
    }

    pub fn text(&self, softened: Option<&str>) -> String {
        let mut text = self.summary() + "\n";
        for (title, items) in self.blocked() {
            let _ = write!(text, "\n{title}:\n");
            for item in items {
                let _ = writeln!(
                    text,
                    "  {:<8} {}  [{}, risk {:.3}]",
                    item.operation,
                    escaped(&item.address),
                    item.environment,
                    item.risk_score
                );
                for reason in &item.reasons {
                    let _ = writeln!(text, "           - {}", sentence(reason));
                }
                if let Some(review) = &item.review {
                    let _ = writeln!(text, "           review {review}");
                }
            }
        }
        let approved = self.with_outcome(Action::Approve);
        if !approved.is_empty() {
            let names: Vec<_> = approved.iter().map(|item| escaped(&item.address)).collect();
            let _ = write!(text, "\nApproved: {}\n", names.join(", "));
        }
        if !self.readiness.is_empty() {
            text.push_str("\nReadiness:\n");
        }
        for ready in &self.readiness {
            let _ = writeln!(text, "  {}", ready.sentence());
        }
        if let Some(softened) = softened {
            let _ = write!(text, "\nNot failed: {softened}.\n");
        }
        text
    }

    pub fn markdown(&self, softened: Option<&str>) -> String {
        let mut text = format!("### ARF gate: {}\n", self.summary());
        for (title, items) in self.blocked() {
            let _ = write!(
                text,
                "\n**{title}**\n\n| change | where | risk | why |\n|---|---|---|---|\n"
            );
            for item in items {
                let why: Vec<_> = item.reasons.iter().map(sentence).collect();
                let _ = writeln!(
                    text,
                    "| {} {} | {} | {:.3} | {} |",
                    item.operation,
                    code(&item.address),
                    item.environment,
                    item.risk_score,
                    cell(&why.join("; "))
                );
            }
        }
        let approved = self.with_outcome(Action::Approve);
        if !approved.is_empty() {
            let count = approved.len();
            let _ = write!(text, "\n<details><summary>Approved ({count})</summary>\n\n");
            for item in approved {
                let _ = writeln!(text, "- {} {}", item.operation, code(&item.address));
            }
            text.push_str("\n</details>\n");
        }
        if !self.readiness.is_empty() {
            text.push_str("\n**Readiness**\n\n");
        }
        for ready in &self.readiness {
            let _ = writeln!(text, "- {}", ready.sentence());
        }
        if let Some(softened) = softened {
            let _ = write!(text, "\n_Not failed: {softened}._\n");
        }
        text
    }

    pub fn json(&self, exit: Exit, softened: Option<&str>) -> String {
        let value = json!({
            "schema": "arf.gate/1",
            "result": self.worst(),
            "exit": exit as u8,
            "softened": softened,
            "enforcement": self.enforcement,
            "change_set": self.change_set,
            "items": self.items,
            "readiness": self.readiness,
        });
        format!("{value:#}\n")
    }

    /// Which resource was evaluated under which id: what reporting outcomes needs.
    pub fn run_json(&self) -> String {
        let item = |item: &ChangeReport| {
            json!({
                "address": item.address,
                "operation": item.operation,
                "deterministic_id": item.deterministic_id,
                "decision_id": item.decision_id,
                "action": item.action,
            })
        };
        let items: Vec<_> = self.items.iter().map(item).collect();
        let value = json!({"schema": "arf.run/1", "change_set": self.change_set, "items": items});
        format!("{value:#}\n")
    }
}

/// Escapes what could end a line, move the cursor or reverse the text: a plan chooses its addresses, and
/// they are printed to terminals and logs.
fn escaped(text: &str) -> String {
    let invisible = |c: char| matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}');
    let escape = |c: char| match c {
        c if c.is_control() || invisible(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// With the policy, if it was one.
fn sentence(reason: &Reason) -> String {
    let policy = reason.policy.as_ref();
    policy.map_or_else(
        || reason.detail.clone(),
        |policy| format!("{} (policy {policy})", reason.detail),
    )
}

/// An address as Markdown code, whatever backticks are in it.
fn code(text: &str) -> String {
    format!("`{}`", cell(&escaped(text).replace('`', "'")))
}

/// Escapes what would end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_end_a_line() {
        let address = "aws_instance.x[\"a\n::error::\u{1b}[2J|`\"]";
        assert_eq!(
            escaped(address),
            "aws_instance.x[\"a\\u{a}::error::\\u{1b}[2J|`\"]"
        );
        assert!(!code(address).contains(['\n', '\u{1b}']));
    }
}
