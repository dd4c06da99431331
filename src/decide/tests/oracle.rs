//! Values worked out elsewhere, to 30 digits and more.

use serde_json::Value;

use super::{magnitude, share};
use crate::bounded::BoundedVec;
use crate::decide::choice::guarded_choice;
use crate::decide::decision::{Action, Losses};
use crate::decide::epistemic::uncertainty;
use crate::decide::intent::{Context, Forecast, HallucinationSignals, RiskLevel};
use crate::decide::loss::LossInputs;
use crate::decide::risk;
use crate::decide::risk::beta::{Beta, Tail};
use crate::decide::rules::Rules;
use crate::number::Probability;

fn cases(part: &str) -> Vec<Value> {
    let reference: Value =
        serde_json::from_str(include_str!("../../../tests/oracle/decide_reference.json")).unwrap();
    let cases = reference[part].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn real(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Within `tolerance` of the expected value, or within `floor`.
fn check(what: &str, case: &Value, found: f64, expected: &Value, tolerance: f64, floor: f64) {
    let expected = real(expected);
    let off = (found - expected).abs();
    assert!(
        off <= tolerance * expected.abs() + floor,
        "{what} of {}: {found:e}, not {expected:e}",
        case["id"]
    );
}

fn beta(case: &Value) -> Beta {
    Beta {
        alpha: real(&case["alpha"]),
        beta: real(&case["beta"]),
    }
}

#[test]
fn moments_quantiles_and_intervals_of_the_beta() {
    for case in cases("beta") {
        let (beta, tolerance) = (beta(&case), real(&case["tol"]));
        check("mean", &case, beta.mean(), &case["mean"], 1e-13, 0.0);
        check(
            "variance",
            &case,
            beta.variance(),
            &case["variance"],
            1e-13,
            0.0,
        );
        for (mass, expected) in case["quantiles"].as_object().unwrap() {
            let mass: f64 = mass.parse().unwrap();
            check(
                "quantile",
                &case,
                beta.quantile(mass, Tail::Lower),
                expected,
                tolerance,
                1e-300,
            );
        }
        let mirrored = Beta {
            alpha: beta.beta,
            beta: beta.alpha,
        };
        for (mass, expected) in case["quantiles_complement"].as_object().unwrap() {
            let mass: f64 = mass.parse().unwrap();
            let found = mirrored.quantile(mass, Tail::Upper);
            check(
                "complement of a quantile",
                &case,
                found,
                expected,
                tolerance,
                1e-300,
            );
        }
        let (low, high) = beta.shortest_interval(risk::LEVEL);
        check("lower end", &case, low, &case["hdi90"][0], tolerance, 1e-14);
        check(
            "upper end",
            &case,
            high,
            &case["hdi90"][1],
            tolerance,
            1e-14,
        );
    }
}

#[test]
fn both_masses_of_the_beta() {
    for case in cases("beta_cdf") {
        let tolerance = real(&case["tol"]);
        let beta = beta(&case);
        let (below, above) = beta.masses(real(&case["x"]));
        // Below the smallest prior that settings allow, a mass on the near side of the mean is small.
        let floor = if beta.alpha < 0.01 { 1e-14 } else { 1e-300 };
        check("mass below", &case, below, &case["cdf"], tolerance, floor);
        check("mass above", &case, above, &case["sf"], tolerance, floor);
    }
}

/// The spec's choice: the least loss, without the guard.
fn least(losses: &Losses) -> Action {
    let Losses {
        approve,
        deny,
        escalate,
    } = *losses;
    if escalate <= deny && escalate <= approve {
        Action::Escalate
    } else if deny <= approve {
        Action::Deny
    } else {
        Action::Approve
    }
}

#[test]
fn losses_and_the_choice_of_the_spec() {
    let settings = &Rules::built_in().settings;
    for case in cases("decision") {
        let inputs = LossInputs {
            risk: real(&case["risk"]),
            variance: real(&case["variance"]),
            impact: real(&case["b_mean"]),
            predicted: real(&case["predictive_risk"]),
            opportunity: real(&case["v_mean"]),
            psi: real(&case["psi"]),
        };
        let losses = inputs.losses(&settings.losses);
        check(
            "loss of approving",
            &case,
            losses.approve,
            &case["L_approve"],
            1e-14,
            0.0,
        );
        check(
            "loss of denying",
            &case,
            losses.deny,
            &case["L_deny"],
            1e-14,
            0.0,
        );
        check(
            "loss of escalating",
            &case,
            losses.escalate,
            &case["L_escalate"],
            1e-14,
            0.0,
        );

        let chosen = if case["violations"] != 0 {
            Action::Deny
        } else if real(&case["psi"]) > settings.epistemic.psi_max {
            Action::Escalate
        } else {
            least(&losses)
        };
        assert_eq!(
            chosen.as_str().to_uppercase(),
            case["action"].as_str().unwrap(),
            "{}",
            case["id"]
        );

        // Ours differs in one thing: doubt below the gate does not make an approval of an escalation.
        let ours = guarded_choice(&losses, settings.losses.cost_review);
        match (least(&losses), ours) {
            (Action::Approve, Action::Escalate) => {
                assert!(losses.approve >= settings.losses.cost_review);
            }
            (spec, ours) => assert_eq!(spec, ours, "{}", case["id"]),
        }
    }
}

#[test]
fn epistemic_uncertainty() {
    let settings = &Rules::built_in().settings.epistemic;
    for case in cases("epistemic") {
        // A hallucination risk h is an entropy of 2 h; a forecast uncertainty u a confidence of 1 - u.
        let (h, u) = (
            real(&case["hallucination"]),
            real(&case["forecast_uncertainty"]),
        );
        let forecast = Forecast {
            risk_level: RiskLevel::Low,
            confidence: Probability::new(1.0 - u).unwrap(),
        };
        let context = Context {
            forecasts: BoundedVec::new(if u > 0.0 { vec![forecast] } else { Vec::new() }).unwrap(),
            hallucination: Some(HallucinationSignals {
                entropy: magnitude(2.0 * h),
                evidence_lift: 0.0,
                contradiction: share(0.0),
            }),
            ..Context::default()
        };
        let found = uncertainty(&context, case["history_len"].as_u64().unwrap(), settings);
        check(
            "sparsity",
            &case,
            found.data_sparsity,
            &case["data_sparsity"],
            1e-14,
            0.0,
        );
        check("psi", &case, found.psi, &case["psi"], 1e-14, 0.0);
    }
}

#[test]
fn smoothing_of_a_sequence() {
    let factor = Rules::built_in().settings.risk.smoothing_factor;
    for case in cases("smoothing") {
        let mut before = None;
        for (raw, expected) in case["raw"]
            .as_array()
            .unwrap()
            .iter()
            .zip(case["smoothed"].as_array().unwrap())
        {
            let smoothed = risk::smooth(before, real(raw), factor);
            check("smoothed risk", &case, smoothed, expected, 1e-15, 1e-15);
            before = Some(Probability::new(smoothed).unwrap());
        }
    }
}
