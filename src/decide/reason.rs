//! The reasons of a decision: one for each blocker, and a sentence for the first.

use super::category::Category;
use super::choice::{Assessment, Blocker};
use super::decision::{Action, Contributions, Losses, Need, Reason, number};
use super::epistemic::{mean_confidence, trials_that_open};
use crate::bounded::BoundedString;

/// Of a caller's text.
const QUOTED_CHARS_MAX: usize = 80;

/// The action, its justification, and a reason for every blocker or for the approval: never empty.
pub fn reasons(assessment: &Assessment<'_>) -> (Action, String, Vec<Reason>) {
    let blockers: Vec<Blocker<'_>> = assessment.blockers().collect();
    let action = blockers.first().map_or(Action::Approve, Blocker::action);
    let reasons = if blockers.is_empty() {
        vec![loss_reason(assessment, Action::Approve)]
    } else {
        blockers
            .iter()
            .map(|blocker| blocker_reason(assessment, blocker))
            .collect()
    };
    let justification = justification(assessment, action, blockers.first(), &reasons);
    (action, justification, reasons)
}

fn justification(
    assessment: &Assessment<'_>,
    action: Action,
    first: Option<&Blocker<'_>>,
    reasons: &[Reason],
) -> String {
    let verb = match action {
        Action::Approve => "Approved",
        Action::Deny => "Denied",
        Action::Escalate => "A person must decide",
    };
    let Some(reason) = reasons.first() else {
        return format!("{verb}.");
    };
    let detail = &reason.detail;
    match (first, &reason.need, &reason.policy) {
        (Some(Blocker::EpistemicGate), Some(Need::Amount(need)), _) => format!(
            "{verb}: {} has {} of {need} outcomes.",
            assessment.category, assessment.counts.trials
        ),
        (_, _, Some(policy)) => format!("{verb}: {detail} (policy `{policy}`)."),
        (_, _, None) => format!("{verb}: {detail}."),
    }
}

fn blocker_reason(assessment: &Assessment<'_>, blocker: &Blocker<'_>) -> Reason {
    match blocker {
        Blocker::CallerViolations(violations) => {
            let first = violations.first().map_or("", BoundedString::as_str);
            let first = truncated(first);
            let detail = match violations.len() {
                1 => format!("the request reports a policy violation, `{first}`"),
                n => format!("the request reports {n} policy violations, `{first}` first"),
            };
            Reason {
                have: Some(violations.len().into()),
                need: Some(Need::Amount(0.into())),
                ..reason("caller_violation", detail)
            }
        }
        Blocker::PolicyDenies(finding) | Blocker::PolicyEscalates(finding) => Reason {
            policy: Some(finding.policy.clone().into_owned()),
            ..reason("policy", finding.reason.clone())
        },
        Blocker::NonFinite(name) => {
            reason("non_finite", format!("`{name}` is not a finite number"))
        }
        Blocker::EpistemicGate => gate_reason(assessment),
        Blocker::ExpectedLoss(action) => loss_reason(assessment, *action),
        Blocker::WideInterval(interval) => {
            let max = assessment.settings.risk.interval_width_max;
            let detail = format!(
                "the risk may lie anywhere from {:.2} to {:.2}, which is wider than {max}",
                interval.low, interval.high
            );
            Reason {
                have: number(interval.width()),
                need: number(max).map(Need::Amount),
                ..reason("wide_interval", detail)
            }
        }
    }
}

/// States the gate in outcomes, which a tenant can record; where outcomes would not open it, the caller's
/// signals that keep it closed.
fn gate_reason(assessment: &Assessment<'_>) -> Reason {
    let trials = assessment.counts.trials;
    let category = assessment.category;
    let settings = &assessment.settings.epistemic;
    let epistemic = &assessment.epistemic;
    let (need, detail) = match trials_that_open(epistemic, settings) {
        Some(need) => (
            Need::Amount(need.into()),
            format!(
                "{category}: {trials} of {need} outcomes recorded; a person decides until {} more are in",
                need.saturating_sub(trials)
            ),
        ),
        None => {
            let hallucination = epistemic.hallucination_risk;
            let unsure = epistemic.forecast_uncertainty;
            let signals = match (hallucination > 0.0, unsure > 0.0) {
                (true, true) => format!(
                    "a hallucination risk of {hallucination:.2} and forecasts with a mean confidence of {:.2}",
                    1.0 - unsure
                ),
                (true, false) => format!("a hallucination risk of {hallucination:.2}"),
                (false, true) => format!(
                    "forecasts with a mean confidence of {:.2}",
                    mean_confidence(assessment.intent.context.forecasts.as_slice())
                ),
                (false, false) => "the settings".to_owned(),
            };
            let left = 1.0 - (1.0 - hallucination) * (1.0 - unsure);
            (
                Need::NoAmount,
                format!(
                    "{signals} alone leave a doubt of {left:.2}, more than {}; more outcomes of {category} \
                     would not help",
                    settings.psi_max
                ),
            )
        }
    };
    Reason {
        have: Some(trials.into()),
        need: Some(need),
        ..reason("epistemic_gate", detail)
    }
}

fn loss_reason(assessment: &Assessment<'_>, action: Action) -> Reason {
    let Losses {
        approve,
        deny,
        escalate,
    } = assessment.losses;
    let review = assessment.settings.losses.cost_review;
    let (have, need, detail) = match action {
        Action::Approve => (
            approve,
            review.min(deny),
            format!(
                "approving is expected to cost {approve:.2}, under both a review ({review:.2}) and \
                 denying ({deny:.2})"
            ),
        ),
        Action::Deny => (
            deny,
            escalate.min(approve),
            format!(
                "denying is expected to cost {deny:.2}, under both asking a person ({escalate:.2}) \
                 and approving ({approve:.2})"
            ),
        ),
        Action::Escalate => (
            approve,
            review.min(deny),
            format!(
                "approving is expected to cost {approve:.2}, not under both a review ({review:.2}) \
                 and denying ({deny:.2})"
            ),
        ),
    };
    Reason {
        have: number(have),
        need: number(need).map(Need::Amount),
        ..reason("expected_loss", detail)
    }
}

fn reason(code: &'static str, detail: String) -> Reason {
    Reason {
        code: code.into(),
        policy: None,
        have: None,
        need: None,
        detail,
    }
}

fn truncated(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Upstream's sentence about the risk, with its wording and its decimals.
pub fn explanation(category: Category, parts: &Contributions, risk: f64) -> String {
    format!(
        "Bayesian risk for category '{category}': conjugate mean = {:.3} (α={:.1}, β={:.1}). \
         Context multiplier: {:.2}. Final risk: {risk:.3}.",
        parts.conjugate_mean, parts.conjugate_alpha, parts.conjugate_beta, parts.context_multiplier
    )
}
