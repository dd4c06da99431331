//! What a gate found, as text for a terminal, JSON for programs, Markdown for a pull request.
//!
//! First what needs a person, then what is denied and why, then what was approved, folded; at the end
//! how far each category is from deciding alone.

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

/// What a gate found.
#[derive(Debug)]
pub struct Report {
    /// What everything was asked under; `None` offline.
    pub change_set: Option<ChangeSet>,
    /// What the tenant's gates do.
    pub enforcement: Enforcement,
    /// One for each change, in the order of the plan.
    pub items: Vec<Item>,
    /// Of the categories that the plan touches.
    pub readiness: Vec<Readiness>,
}

/// One change of the plan.
#[derive(Debug, Serialize)]
pub struct Item {
    /// The resource.
    pub address: String,
    /// What happens to it.
    pub operation: Operation,
    /// Where.
    pub environment: Environment,
    /// What it learns from.
    pub category: Category,
    /// What was decided.
    pub action: Action,
    /// Where the decision stands; `None` offline.
    pub standing: Option<State>,
    /// Why, in one sentence.
    pub justification: String,
    /// Why, with numbers.
    pub reasons: Vec<Reason>,
    /// The risk that was used.
    pub risk_score: f64,
    /// The id it was asked under.
    pub deterministic_id: Option<IntentId>,
    /// Its entry in the audit log.
    pub decision_id: Option<DecisionId>,
    /// What a reviewer calls it, while it is pending.
    pub review: Option<DecisionId>,
    /// True if the answer was there before.
    pub replayed: bool,
}

impl Item {
    /// What it comes to: a person's verdict and time count. What stands in no known way is denied.
    fn outcome(&self) -> Action {
        match self.standing {
            None => self.action,
            Some(State::Approved) => Action::Approve,
            Some(State::Pending) => Action::Escalate,
            Some(State::Denied | State::Expired | State::Closed) => Action::Deny,
        }
    }
}

/// The outcomes that a category has, and how many more it needs to decide alone.
#[derive(Debug, Clone, Copy)]
pub struct Outcomes {
    pub trials: u64,
    pub needed: u64,
}

/// How far a category is from deciding alone.
#[derive(Debug, Serialize)]
pub struct Readiness {
    category: Category,
    have: u64,
    need: u64,
}

impl Readiness {
    /// Of the categories that `items` touch.
    pub fn of(items: &[Item], outcomes: impl Fn(Category) -> Outcomes) -> Vec<Self> {
        let touched = |category: &&Category| items.iter().any(|item| item.category == **category);
        let ready = |&category| {
            let Outcomes { trials, needed } = outcomes(category);
            Self {
                category,
                have: trials,
                need: trials.saturating_add(needed),
            }
        };
        Category::ALL.iter().filter(touched).map(ready).collect()
    }

    fn sentence(&self) -> String {
        let Self {
            category,
            have,
            need,
        } = self;
        if have >= need {
            format!("{category}: ready ({have} outcomes)")
        } else {
            let missing = need - have;
            format!(
                "{category}: {have} of {need} outcomes; a person decides until {missing} more are in"
            )
        }
    }
}

impl Report {
    /// Of a plan that changes nothing.
    pub fn empty() -> Self {
        let (items, readiness) = (Vec::new(), Vec::new());
        Self {
            change_set: None,
            enforcement: Enforcement::Full,
            items,
            readiness,
        }
    }

    /// The worst that anything comes to: a denial outranks an escalation.
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

    fn of(&self, action: Action) -> Vec<&Item> {
        self.items
            .iter()
            .filter(|item| item.outcome() == action)
            .collect()
    }

    fn summary(&self) -> String {
        if self.items.is_empty() {
            return "No changes.".to_owned();
        }
        let count = |action| self.of(action).len();
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

    /// For a terminal.
    pub fn text(&self, softened: Option<&str>) -> String {
        let mut text = self.summary() + "\n";
        for (title, action) in [
            ("A person decides", Action::Escalate),
            ("Denied", Action::Deny),
        ] {
            let items = self.of(action);
            if !items.is_empty() {
                let _ = write!(text, "\n{title}:\n");
            }
            for item in items {
                let Item {
                    operation,
                    environment,
                    risk_score,
                    ..
                } = item;
                let address = plain(&item.address);
                let _ = writeln!(
                    text,
                    "  {operation:<8} {address}  [{environment}, risk {risk_score:.3}]"
                );
                for reason in &item.reasons {
                    let _ = writeln!(text, "           - {}", sentence(reason));
                }
                if let Some(review) = &item.review {
                    let _ = writeln!(text, "           review {review}");
                }
            }
        }
        let approved = self.of(Action::Approve);
        if !approved.is_empty() {
            let names: Vec<_> = approved.iter().map(|item| plain(&item.address)).collect();
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

    /// For a pull request.
    pub fn markdown(&self, softened: Option<&str>) -> String {
        let mut text = format!("### ARF gate: {}\n", self.summary());
        for (title, action) in [
            ("A person decides", Action::Escalate),
            ("Denied", Action::Deny),
        ] {
            let items = self.of(action);
            if items.is_empty() {
                continue;
            }
            let _ = write!(
                text,
                "\n**{title}**\n\n| change | where | risk | why |\n|---|---|---|---|\n"
            );
            for item in items {
                let Item {
                    operation,
                    environment,
                    risk_score,
                    ..
                } = item;
                let address = code(&item.address);
                let why: Vec<_> = item.reasons.iter().map(sentence).collect();
                let why = cell(&why.join("; "));
                let _ = writeln!(
                    text,
                    "| {operation} {address} | {environment} | {risk_score:.3} | {why} |"
                );
            }
        }
        let approved = self.of(Action::Approve);
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

    /// For programs.
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

    /// What `arf outcome` will want to know: which resource was asked about under which id.
    pub fn run(&self) -> String {
        let item = |item: &Item| {
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

/// An address as a terminal or a log may show it: what a plan calls its resources must not be able to
/// end a line, move the cursor or turn the text around.
fn plain(text: &str) -> String {
    let unseen = |c: char| matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}');
    let escaped = |c: char| match c {
        c if c.is_control() || unseen(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// A reason, naming its rule.
fn sentence(reason: &Reason) -> String {
    let policy = reason.policy.as_ref();
    policy.map_or_else(
        || reason.detail.clone(),
        |policy| format!("{} (policy {policy})", reason.detail),
    )
}

/// An address as Markdown code, whatever quotes are in it.
fn code(text: &str) -> String {
    format!("`{}`", cell(&plain(text).replace('`', "'")))
}

/// Text that cannot end a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plan_calls_its_resources_cannot_end_a_line() {
        let address = "aws_instance.x[\"a\n::error::\u{1b}[2J|`\"]";
        assert_eq!(
            plain(address),
            "aws_instance.x[\"a\\u{a}::error::\\u{1b}[2J|`\"]"
        );
        assert!(!code(address).contains(['\n', '\u{1b}']));
    }
}
