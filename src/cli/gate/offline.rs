//! A gate without a server: decides by the default rules, without outcomes.

use super::report::{ChangeReport, Outcomes, Readiness, Report};
use crate::decide::intent::{ChangeSet, Intent};
use crate::decide::{self, ChangeSetTotals, Evidence, Rules, outcomes_needed};
use crate::engine::clock;
use crate::terraform::Change;

pub(super) fn run(changes: &[Change<'_>], set: &ChangeSet) -> Report {
    let (rules, at) = (Rules::built_in(), clock::now());
    let mut totals = ChangeSetTotals::default();
    let mut items = Vec::new();
    for change in changes {
        let intent = Intent {
            change_set: Some(set.clone()),
            ..change.intent.clone()
        };
        let evidence = Evidence {
            change_set: totals,
            ..Evidence::default()
        };
        let decision = decide::decide(&intent, &evidence, rules, at);
        totals.intents += 1;
        totals.deletes += u32::from(intent.destroys());
        items.push(ChangeReport {
            address: change.address.to_owned(),
            operation: change.operation,
            environment: intent.environment,
            category: decision.category,
            action: decision.action,
            standing: None,
            justification: decision.justification,
            reasons: decision.reasons,
            risk_score: decision.risk_score,
            deterministic_id: None,
            decision_id: None,
            review: None,
            replayed: false,
        });
    }
    let outcomes = Outcomes {
        trials: 0,
        needed: outcomes_needed(0, &rules.settings),
    };
    Report {
        change_set: None,
        enforcement: rules.settings.enforcement,
        readiness: Readiness::of(&items, |_| outcomes),
        items,
    }
}
