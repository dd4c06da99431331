//! The choice of the action, in the order of rules.md 7: the first blocker decides, and an intent without
//! any is approved.

use super::category::Category;
use super::decision::{Action, Epistemic, Interval, Losses};
use super::evidence::Counts;
use super::intent::Intent;
use super::policy::{Finding, Findings};
use super::risk::{Intervals, Risk};
use super::settings::Settings;
use crate::bounded::BoundedString;

#[derive(Debug)]
pub struct Assessment<'a> {
    pub intent: &'a Intent,
    pub category: Category,
    pub counts: &'a Counts,
    pub settings: &'a Settings,
    pub findings: Findings,
    pub risk: Risk,
    pub epistemic: Epistemic,
    pub losses: Losses,
    /// The name of the first number that was not finite and was replaced.
    pub non_finite: Option<&'static str>,
    pub intervals: &'a Intervals,
}

/// A reason not to approve.
#[derive(Debug)]
pub enum Blocker<'a> {
    CallerViolations(&'a [BoundedString<1, 1_024>]),
    PolicyDenies(&'a Finding),
    NonFinite(&'static str),
    PolicyEscalates(&'a Finding),
    /// psi is over its limit.
    EpistemicGate,
    /// The action with the least loss.
    ExpectedLoss(Action),
    WideInterval(Interval),
}

impl Blocker<'_> {
    /// The action if this is the first blocker.
    pub const fn action(&self) -> Action {
        match self {
            Self::CallerViolations(_) | Self::PolicyDenies(_) => Action::Deny,
            Self::NonFinite(_)
            | Self::PolicyEscalates(_)
            | Self::EpistemicGate
            | Self::WideInterval(_) => Action::Escalate,
            Self::ExpectedLoss(action) => *action,
        }
    }
}

impl Assessment<'_> {
    /// Lazy: the interval costs more than all the rest and comes last.
    pub fn blockers(&self) -> impl Iterator<Item = Blocker<'_>> {
        let by_loss = std::iter::once_with(|| match self.action_by_loss() {
            Action::Approve => self.wide_interval(),
            action @ (Action::Deny | Action::Escalate) => Some(Blocker::ExpectedLoss(action)),
        });
        self.hard_blockers()
            .chain(by_loss.flatten().filter(|_| self.non_finite.is_none()))
    }

    pub fn action(&self) -> Action {
        self.blockers()
            .next()
            .map_or(Action::Approve, |first| first.action())
    }

    /// The action if the interval is narrow enough, without computing it.
    pub fn action_if_narrow(&self) -> Action {
        let first = self.hard_blockers().next();
        first.map_or_else(|| self.action_by_loss(), |first| first.action())
    }

    /// Blockers that no loss outweighs.
    fn hard_blockers(&self) -> impl Iterator<Item = Blocker<'_>> {
        let reported = self.intent.policy_violations.as_slice();
        let violations = (!reported.is_empty()).then_some(Blocker::CallerViolations(reported));
        let denials = self.findings.violations.iter().map(Blocker::PolicyDenies);
        let escalations = self.findings.escalations.iter();
        let psi_max = self.settings.epistemic.psi_max;
        let gate = self.non_finite.is_none() && self.epistemic.psi > psi_max;
        violations
            .into_iter()
            .chain(denials)
            .chain(self.non_finite.map(Blocker::NonFinite))
            .chain(escalations.map(Blocker::PolicyEscalates))
            .chain(gate.then_some(Blocker::EpistemicGate))
    }

    fn action_by_loss(&self) -> Action {
        guarded_choice(&self.losses, self.settings.losses.cost_review)
    }

    fn wide_interval(&self) -> Option<Blocker<'_>> {
        let interval = self.risk.interval(self.intervals);
        let wide = interval.width() > self.settings.risk.interval_width_max;
        wide.then_some(Blocker::WideInterval(interval))
    }
}

/// The least loss, but an approval has to be cheaper than a review without the cost of uncertainty, so
/// that more uncertainty never turns an escalation into an approval. Ties go to escalation, then to
/// denial.
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
