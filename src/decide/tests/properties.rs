//! What holds of every decision, whatever is asked.

use proptest::prelude::*;

use super::arbitrary::{evidences, intents};
use super::{decided, learned, magnitude, noon, share, text};
use crate::bounded::BoundedVec;
use crate::decide::category::Category;
use crate::decide::choice::guarded_choice;
use crate::decide::decision::{Action, ChangeKind, Difference, number};
use crate::decide::intent::{
    ChangeScope, ChangeSet, Environment, HallucinationSignals, IntentKind, Operation,
    PermissionLevel,
};
use crate::decide::risk::LEVEL;
use crate::decide::risk::beta::{Beta, Tail};
use crate::decide::{Decision, Evidence, Intent, Rules, counterfactual};

/// How much an action allows.
fn allows(action: Action) -> u8 {
    match action {
        Action::Deny => 0,
        Action::Escalate => 1,
        Action::Approve => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn same_arguments_same_bits_and_json_keeps_them(intent in intents(), evidence in evidences()) {
        let once = decided(&intent, &evidence);
        prop_assert_eq!(&once, &decided(&intent, &evidence));
        let json = serde_json::to_string(&once).unwrap();
        prop_assert_eq!(&once, &serde_json::from_str::<Decision>(&json).unwrap());
    }

    #[test]
    fn what_is_only_kept_decides_nothing(intent in intents(), evidence in evidences()) {
        let kept = serde_json::Map::from_iter([("version".to_owned(), serde_json::json!("2"))]);
        let more = Intent { provenance: kept.clone(), configuration: kept, ..intent.clone() };
        prop_assert_eq!(decided(&intent, &evidence), decided(&more, &evidence));
    }

    #[test]
    fn counts_that_cannot_be_do_no_harm(
        intent in intents(), failures in any::<u64>(), trials in any::<u64>(), shift in 0_u32..64,
    ) {
        let evidence = learned(failures >> shift, trials);
        let decision = decided(&intent, &evidence);
        let json = serde_json::to_string(&decision).unwrap();
        prop_assert_eq!(&decision, &serde_json::from_str::<Decision>(&json).unwrap());
        prop_assert!((0.0..=1.0).contains(&decision.risk_interval.width()));
        let _ = counterfactual(&intent, &evidence, Rules::built_in(), noon(), &decision);
    }

    #[test]
    fn numbers_stay_in_their_ranges(intent in intents(), evidence in evidences()) {
        let decision = decided(&intent, &evidence);
        let interval = decision.risk_interval;
        prop_assert!((0.0..=1.0).contains(&decision.risk_score));
        prop_assert!(0.0 <= interval.low && interval.low <= interval.high && interval.high <= 1.0);
        prop_assert!((0.0..=1.0).contains(&decision.confidence));
        prop_assert!(!decision.reasons.is_empty());
        prop_assert_eq!(decision.category, Category::of(&intent));
    }

    #[test]
    fn the_first_reason_is_the_one_that_decided(intent in intents(), evidence in evidences()) {
        let decision = decided(&intent, &evidence);
        let first = &decision.reasons[0];
        match first.code.as_ref() {
            "caller_violation" => prop_assert_eq!(decision.action, Action::Deny),
            "policy" | "epistemic_gate" | "wide_interval" => prop_assert_eq!(decision.action, Action::Escalate),
            "expected_loss" => prop_assert_eq!(
                decision.action,
                guarded_choice(&decision.expected_losses, Rules::built_in().settings.losses.cost_review)
            ),
            other => prop_assert!(false, "{}", other),
        }
        if decision.action == Action::Approve {
            prop_assert_eq!(decision.reasons.len(), 1);
        }
    }

    #[test]
    fn nothing_with_a_violation_is_approved(intent in intents(), evidence in evidences()) {
        let violated = Intent {
            policy_violations: BoundedVec::new(vec![text("forbidden region")]).unwrap(),
            ..intent
        };
        prop_assert_eq!(decided(&violated, &evidence).action, Action::Deny);
    }

    #[test]
    fn a_failure_raises_the_risk_and_a_success_lowers_it(intent in intents(), evidence in evidences()) {
        let category = Category::of(&intent);
        let (mut worse, mut better) = (evidence, evidence);
        worse.counts.of_mut(category).trials += 1;
        worse.counts.of_mut(category).failures += 1;
        better.counts.of_mut(category).trials += 1;
        let blend = |evidence: &Evidence| decided(&intent, evidence).contributions.blend;
        prop_assert!(blend(&better) < blend(&evidence));
        prop_assert!(blend(&evidence) < blend(&worse));
        let score = |evidence: &Evidence| decided(&intent, evidence).risk_score;
        prop_assert!(score(&better) <= score(&evidence) && score(&evidence) <= score(&worse));
    }

    #[test]
    fn more_doubt_never_makes_an_escalation_an_approval(
        intent in intents(), evidence in evidences(), entropy in 0.0..3.0_f64, more in 0.0..3.0_f64,
    ) {
        let with = |entropy| {
            let mut intent = intent.clone();
            intent.context.hallucination = Some(HallucinationSignals {
                entropy: magnitude(entropy), evidence_lift: 0.0, contradiction: share(0.0),
            });
            decided(&intent, &evidence).action
        };
        if with(entropy) != Action::Approve {
            prop_assert_ne!(with(entropy + more), Action::Approve);
        }
    }

    #[test]
    fn more_deletes_never_help(intent in intents(), evidence in evidences(), more in 1_u32..50) {
        let approved = |intent: &Intent, evidence: &Evidence| {
            decided(intent, evidence).action == Action::Approve
        };
        let before = approved(&intent, &evidence);
        let mut seen = evidence;
        seen.change_set.deletes += more;
        prop_assert!(before || !approved(&intent, &seen));
        if let Some(set) = &intent.change_set {
            let deletes = Some(set.deletes.unwrap_or(0) + more);
            let declared = Intent { change_set: Some(ChangeSet { deletes, ..set.clone() }), ..intent };
            prop_assert!(before || !approved(&declared, &evidence));
        }
    }

    #[test]
    fn the_shortest_interval_holds_its_mass(alpha in 0.02..2_000.0_f64, beta in 0.02..2_000.0_f64) {
        let distribution = Beta { alpha, beta };
        let (low, high) = distribution.shortest_interval(LEVEL);
        let outside = distribution.masses(low).0 + distribution.masses(high).1;
        prop_assert!((outside - 0.1).abs() < 1e-9, "{}", outside);
        let mirrored = Beta { alpha: beta, beta: alpha }.shortest_interval(LEVEL);
        if alpha.min(beta) > 1.0 {
            prop_assert!((mirrored.0 - (1.0 - high)).abs() < 1e-9);
            prop_assert!((mirrored.1 - (1.0 - low)).abs() < 1e-9);
        }
        // No other interval with this mass is shorter: moved a little to either side it grows.
        for off in [0.99, 1.01] {
            let moved = distribution.masses(low).0 * off + 1e-4;
            if moved < 0.1 {
                let from = distribution.quantile(moved, Tail::Lower);
                let to = distribution.quantile(0.1 - moved, Tail::Upper);
                prop_assert!(to - from >= (high - low) * (1.0 - 1e-9));
            }
        }
    }

    #[test]
    fn a_counterfactual_really_flips(intent in intents(), evidence in evidences()) {
        let decision = decided(&intent, &evidence);
        let Some(found) = counterfactual(&intent, &evidence, Rules::built_in(), noon(), &decision) else {
            return Ok(());
        };
        prop_assert!(found.flips && (1..=2).contains(&found.changes.len()));
        prop_assert!(allows(found.target) > allows(decision.action));
        let (changed, learned) = changed_to(&intent, &evidence, &decision, &found.changes);
        prop_assert_eq!(decided(&changed, &learned).action, found.target);
        // The patch is the choices, no more and no less.
        let choices = found.changes.iter().filter(|change| change.kind == ChangeKind::Choice).count();
        prop_assert_eq!(found.patch.len(), choices);
        for operation in &found.patch {
            let path = operation["path"].as_str().unwrap();
            prop_assert!(["/size", "/permission_level", "/change_scope", "/operation"].contains(&path));
        }
        // A step less is not enough. (Together with more history, a measurement is given as it has to be
        // today, which is more than enough.)
        for index in 0..found.changes.len() {
            let step = match found.changes[index].field.as_str() {
                "evidence" => -1.0,
                _ if found.changes.len() > 1 => continue,
                "context.error_rate" | "context.hallucination.entropy" => 0.000_1,
                "context.latency_p99" => 1.0,
                _ => continue,
            };
            let mut changes = found.changes.clone();
            let to = changes[index].to.as_f64().unwrap() + step;
            changes[index].to = number(to).map_or(serde_json::Value::Null, Into::into);
            let (nearly, learned) = changed_to(&intent, &evidence, &decision, &changes);
            prop_assert!(allows(decided(&nearly, &learned).action) < allows(found.target));
        }
    }
}

/// The arguments with `changes` made, by a second way than the search's own.
fn changed_to(
    intent: &Intent,
    evidence: &Evidence,
    decision: &Decision,
    changes: &[Difference],
) -> (Intent, Evidence) {
    let (mut intent, mut evidence) = (intent.clone(), *evidence);
    for change in changes {
        let word = change.to.as_str().unwrap_or_default();
        match (change.field.as_str(), &mut intent.kind) {
            ("evidence", _) => {
                let counts = evidence.counts.of_mut(decision.category);
                assert_eq!(change.from, counts.trials);
                counts.trials = change.to.as_u64().unwrap();
            }
            ("size", IntentKind::ProvisionResource { size, .. }) => *size = text(word),
            (
                "permission_level",
                IntentKind::GrantAccess {
                    permission_level, ..
                },
            ) => {
                *permission_level = PermissionLevel::parse(word).unwrap();
            }
            ("change_scope", IntentKind::DeployConfig { change_scope, .. }) => {
                *change_scope = ChangeScope::parse(word).unwrap();
            }
            (
                "deployment_target",
                IntentKind::DeployConfig {
                    deployment_target, ..
                },
            ) => {
                *deployment_target = Environment::parse(word).unwrap();
            }
            ("operation", _) => intent.operation = Operation::parse(word),
            ("environment", _) => intent.environment = Environment::parse(word).unwrap(),
            ("policy_violations", _) => intent.policy_violations = BoundedVec::default(),
            ("change_set.deletes", _) => {
                let deletes = change.to.as_u64().map(|deletes| deletes as u32);
                intent.change_set.as_mut().unwrap().deletes = deletes;
            }
            ("context.error_rate", _) => {
                intent.context.error_rate = change.to.as_f64().map(share);
            }
            ("context.latency_p99", _) => {
                intent.context.latency_p99 = change.to.as_f64().map(magnitude);
            }
            ("context.hallucination.entropy", _) => {
                let entropy = magnitude(change.to.as_f64().unwrap());
                intent.context.hallucination.as_mut().unwrap().entropy = entropy;
            }
            (field, _) => panic!("a field that nothing may change: {field}"),
        }
    }
    (intent, evidence)
}
