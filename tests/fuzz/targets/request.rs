//! Bodies of requests.
#![no_main]

use arf::api::{intent, key, outcome, tenant};
use arf::decide::{Evidence, Rules, decide};
use arf::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Option<&str>, &[u8])| {
    let (header, bytes) = input;
    if let Ok(parsed) = intent::parse(bytes, header) {
        let now = Timestamp::from_micros(1_764_000_000_000_000);
        let decision = decide(&parsed.intent, &Evidence::default(), Rules::built_in(), now);
        assert!((0.0..=1.0).contains(&decision.risk_score));
    }
    let _ = outcome::parse(bytes, header);
    let _ = key::parse(bytes);
    let _ = tenant::parse(bytes);
});
