//! Plans, valid or not.
#![no_main]

use arf::decide::{Action, Evidence, Rules, decide};
use arf::terraform::{GateKey, Plan};
use arf::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(plan) = Plan::parse(bytes) else { return };
    let key = GateKey::new("key");
    for change in plan.changes(None) {
        assert!(key.intent_ids(&change).next().is_some());
        let now = Timestamp::from_micros(1_764_000_000_000_000);
        let decision = decide(&change.intent, &Evidence::default(), Rules::built_in(), now);
        assert_ne!(decision.action, Action::Approve, "nothing was learned yet");
    }
});
