//! Decisions in words: each obstacle as a reason with its numbers, and one sentence for the first.

use super::category::Category;
use super::choice::{Assessment, Blocker};
use super::decision::{Action, Contributions, Losses, Need, Reason, number};
use super::epistemic::{mean_confidence, trials_that_open};

/// Characters of a caller's text that a sentence quotes.
const QUOTED_CHARS_MAX: usize = 80;

/// Why the action is what it is: every obstacle in order, or what speaks for an approval. Never empty.
pub fn reasons(case: &Assessment<'_>) -> (Action, String, Vec<Reason>) {
    let blockers: Vec<Blocker<'_>> = case.blockers().collect();
    let action = blockers.first().map_or(Action::Approve, Blocker::action);
    let reasons = if blockers.is_empty() {
        vec![loss_reason(case, Action::Approve)]
    } else {
        blockers
            .iter()
            .map(|blocker| reason(case, blocker))
            .collect()
    };
    let justification = justification(case, action, blockers.first(), &reasons);
    (action, justification, reasons)
}

/// Why this action, in one sentence: what decided, and the name of the rule if it was one.
fn justification(
    case: &Assessment<'_>,
    action: Action,
    first: Option<&Blocker<'_>>,
    reasons: &[Reason],
) -> String {
    let who = match action {
        Action::Approve => "Approved",
        Action::Deny => "Denied",
        Action::Escalate => "A person must decide",
    };
    match (first, reasons) {
        (
            Some(Blocker::Gate),
            [
                Reason {
                    need: Some(Need::Amount(need)),
                    ..
                },
                ..,
            ],
        ) => {
            format!(
                "{who}: {} has {} of {need} outcomes.",
                case.category, case.counts.trials
            )
        }
        (
            _,
            [
                Reason {
                    policy: Some(policy),
                    detail,
                    ..
                },
                ..,
            ],
        ) => {
            format!("{who}: {detail} (policy `{policy}`).")
        }
        (_, [Reason { detail, .. }, ..]) => format!("{who}: {detail}."),
        (_, []) => format!("{who}."),
    }
}

fn reason(case: &Assessment<'_>, blocker: &Blocker<'_>) -> Reason {
    match blocker {
        Blocker::CallerViolations(violations) => {
            let first = violations
                .first()
                .map_or("", |violation| violation.as_str());
            let detail = match violations.len() {
                1 => format!(
                    "the request reports a policy violation, `{}`",
                    quoted(first)
                ),
                n => {
                    format!(
                        "the request reports {n} policy violations, `{}` first",
                        quoted(first)
                    )
                }
            };
            Reason {
                have: Some(violations.len().into()),
                need: Some(Need::Amount(0.into())),
                ..bare("caller_violation", detail)
            }
        }
        Blocker::Forbidden(finding) | Blocker::PolicyEscalates(finding) => Reason {
            policy: Some(finding.policy.clone().into_owned()),
            ..bare("policy", finding.reason.clone())
        },
        Blocker::NotFinite(name) => bare("non_finite", format!("`{name}` is not a finite number")),
        Blocker::Gate => gate_reason(case),
        Blocker::Loss(action) => loss_reason(case, *action),
        Blocker::TooWide(interval) => {
            let most = case.settings.risk.interval_width_max;
            Reason {
                have: number(interval.width()),
                need: number(most).map(Need::Amount),
                ..bare(
                    "wide_interval",
                    format!(
                        "the risk may lie anywhere from {:.2} to {:.2}, which is wider than {most}",
                        interval.low, interval.high
                    ),
                )
            }
        }
    }
}

/// The gate in outcomes, which is what a tenant can do something about; where outcomes would not open
/// it, the caller's own signal that keeps it shut.
fn gate_reason(case: &Assessment<'_>) -> Reason {
    let trials = case.counts.trials;
    let category = case.category;
    let most = case.settings.epistemic.psi_max;
    let epistemic = &case.epistemic;
    let (need, detail) = match trials_that_open(epistemic, &case.settings.epistemic) {
        Some(need) => (
            Need::Amount(need.into()),
            format!(
                "{category}: {trials} of {need} outcomes recorded; a person decides until {} more are in",
                need.saturating_sub(trials)
            ),
        ),
        None => {
            let signals = match (
                epistemic.hallucination_risk > 0.0,
                epistemic.forecast_uncertainty > 0.0,
            ) {
                (true, true) => format!(
                    "a hallucination risk of {:.2} and forecasts with a mean confidence of {:.2}",
                    epistemic.hallucination_risk,
                    1.0 - epistemic.forecast_uncertainty
                ),
                (true, false) => format!(
                    "a hallucination risk of {:.2}",
                    epistemic.hallucination_risk
                ),
                (false, true) => format!(
                    "forecasts with a mean confidence of {:.2}",
                    mean_confidence(case.intent.context.forecasts.as_slice())
                ),
                (false, false) => "the settings".to_owned(),
            };
            let left =
                1.0 - (1.0 - epistemic.hallucination_risk) * (1.0 - epistemic.forecast_uncertainty);
            (
                Need::NoAmount,
                format!(
                    "{signals} alone leave a doubt of {left:.2}, more than {most}; more outcomes of \
                     {category} would not help"
                ),
            )
        }
    };
    Reason {
        have: Some(trials.into()),
        need: Some(need),
        ..bare("epistemic_gate", detail)
    }
}

/// The choice by expected loss, with the two losses that decided it.
fn loss_reason(case: &Assessment<'_>, action: Action) -> Reason {
    let Losses {
        approve,
        deny,
        escalate,
    } = case.losses;
    let review = case.settings.losses.cost_review;
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
        ..bare("expected_loss", detail)
    }
}

fn bare(code: &'static str, detail: String) -> Reason {
    Reason {
        code: code.into(),
        policy: None,
        have: None,
        need: None,
        detail,
    }
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Upstream's sentence on the risk, in its wording and with its decimals.
pub fn explanation(category: Category, parts: &Contributions, risk: f64) -> String {
    format!(
        "Bayesian risk for category '{category}': conjugate mean = {:.3} (α={:.1}, β={:.1}). \
         Context multiplier: {:.2}. Final risk: {risk:.3}.",
        parts.conjugate_mean, parts.conjugate_alpha, parts.conjugate_beta, parts.context_multiplier
    )
}
