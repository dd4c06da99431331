//! From numbers to an action, in the order of rules.md 7: everything that stands against an approval,
//! first things first. What stands first decides; if nothing does, the change is approved.

use super::category::Category;
use super::decision::{Action, Epistemic, Interval, Losses};
use super::evidence::Counts;
use super::intent::Intent;
use super::policy::{Finding, Findings};
use super::risk::{Intervals, Risk};
use super::settings::Settings;
use crate::bounded::BoundedString;

/// One intent with every number that the choice rests on.
#[derive(Debug)]
pub struct Assessment<'a> {
    /// What is asked.
    pub intent: &'a Intent,
    /// The category it falls into.
    pub category: Category,
    /// What was learned there.
    pub counts: &'a Counts,
    /// The tenant's settings.
    pub settings: &'a Settings,
    /// What the policies say.
    pub findings: Findings,
    /// The risk, with its parts.
    pub risk: Risk,
    /// What is not known.
    pub epistemic: Epistemic,
    /// What each action is expected to cost.
    pub losses: Losses,
    /// The first number that came out as none; it stands at its worst above.
    pub broken: Option<&'static str>,
    /// Where the interval is found, if it is needed.
    pub intervals: &'a Intervals,
}

/// Something that stands against an approval.
#[derive(Debug)]
pub enum Blocker<'a> {
    /// Violations that the caller itself reports.
    CallerViolations(&'a [BoundedString<1, 1_024>]),
    /// A policy forbids it.
    Forbidden(&'a Finding),
    /// A number of the evaluation, by its name, is not finite.
    NotFinite(&'static str),
    /// A policy wants a person to decide.
    PolicyEscalates(&'a Finding),
    /// Too little is known: psi is over its limit.
    Gate,
    /// Denying, or asking a person, is expected to cost less.
    Loss(Action),
    /// The loss would approve, but the risk may lie anywhere in this interval.
    TooWide(Interval),
}

impl Blocker<'_> {
    /// What it makes of the intent if nothing stands before it.
    pub const fn action(&self) -> Action {
        match self {
            Self::CallerViolations(_) | Self::Forbidden(_) => Action::Deny,
            Self::NotFinite(_) | Self::PolicyEscalates(_) | Self::Gate | Self::TooWide(_) => {
                Action::Escalate
            }
            Self::Loss(action) => *action,
        }
    }
}

impl Assessment<'_> {
    /// All obstacles in their order, each worked out only when the iterator comes to it. The interval,
    /// which costs more than all the rest, comes last.
    pub fn blockers(&self) -> impl Iterator<Item = Blocker<'_>> {
        let by_loss = std::iter::once_with(|| match self.action_by_loss() {
            Action::Approve => self.too_wide(),
            action @ (Action::Deny | Action::Escalate) => Some(Blocker::Loss(action)),
        });
        self.hard_blockers()
            .chain(by_loss.flatten().filter(|_| self.broken.is_none()))
    }

    /// What may be done.
    pub fn action(&self) -> Action {
        self.blockers()
            .next()
            .map_or(Action::Approve, |first| first.action())
    }

    /// What may be done if the interval is narrow enough, which is not looked at.
    pub fn action_if_narrow(&self) -> Action {
        let first = self.hard_blockers().next();
        first.map_or_else(|| self.action_by_loss(), |first| first.action())
    }

    /// Those that no loss can outweigh.
    fn hard_blockers(&self) -> impl Iterator<Item = Blocker<'_>> {
        let reported = self.intent.policy_violations.as_slice();
        let violations = (!reported.is_empty()).then_some(Blocker::CallerViolations(reported));
        let gate = self.broken.is_none() && self.epistemic.psi > self.settings.epistemic.psi_max;
        violations
            .into_iter()
            .chain(self.findings.violations.iter().map(Blocker::Forbidden))
            .chain(self.broken.map(Blocker::NotFinite))
            .chain(
                self.findings
                    .escalations
                    .iter()
                    .map(Blocker::PolicyEscalates),
            )
            .chain(gate.then_some(Blocker::Gate))
    }

    fn action_by_loss(&self) -> Action {
        guarded_choice(&self.losses, self.settings.losses.cost_review)
    }

    fn too_wide(&self) -> Option<Blocker<'_>> {
        let interval = self.risk.interval(self.intervals);
        let wide = interval.width() > self.settings.risk.interval_width_max;
        wide.then_some(Blocker::TooWide(interval))
    }
}

/// The least loss, guarded: an approval has to beat a review at its plain cost, without the doubt
/// that makes asking dearer, so more doubt never turns an escalation into an approval. Ties go to the
/// person, then to denying.
pub fn guarded_choice(losses: &Losses, cost_review: f64) -> Action {
    let Losses {
        approve,
        deny,
        escalate,
    } = *losses;
    if approve < cost_review && approve < deny {
        Action::Approve
    } else if deny < escalate && deny < approve {
        Action::Deny
    } else {
        Action::Escalate
    }
}
