//! What a tenant has learned, by category.

use serde::Serialize;

use crate::decide::decision::Interval;
use crate::decide::{Category, outcomes_needed, posterior};
use crate::tenant::Tenant;
use crate::time::Timestamp;

/// One category.
#[derive(Debug, Serialize)]
pub struct Item {
    category: Category,
    alpha: f64,
    beta: f64,
    failures: u64,
    trials: u64,
    self_reported: u64,
    imported: u64,
    outcomes_needed: u64,
    mean: f64,
    variance: f64,
    interval: Interval,
    updated_at: Option<Timestamp>,
}

/// All five, in their order.
pub fn items(tenant: &Tenant) -> Vec<Item> {
    let settings = &tenant.rules().settings;
    let item = |&category| {
        let counts = tenant.learning().counts(category);
        let posterior = posterior(category, &counts, settings);
        Item {
            category,
            alpha: posterior.alpha,
            beta: posterior.beta,
            failures: counts.failures,
            trials: counts.trials,
            self_reported: counts.self_reported,
            imported: counts.imported,
            outcomes_needed: outcomes_needed(counts.trials, settings),
            mean: posterior.mean,
            variance: posterior.variance,
            interval: posterior.interval,
            updated_at: tenant.learning().updated_at(category),
        }
    };
    Category::ALL.iter().map(item).collect()
}
