//! What a tenant has learned of each category.

use serde::Serialize;

use crate::decide::decision::Interval;
use crate::decide::{Category, outcomes_needed, posterior};
use crate::tenant::Tenant;
use crate::time::Timestamp;

#[derive(Debug, Serialize)]
pub struct CategoryState {
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

/// All categories, in their order.
pub fn list(tenant: &Tenant) -> Vec<CategoryState> {
    let settings = &tenant.rules().settings;
    let state = |&category| {
        let counts = tenant.learning().counts(category);
        let posterior = posterior(category, &counts, settings);
        CategoryState {
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
    Category::ALL.iter().map(state).collect()
}
