//! The operation of a resource change, from the plan's actions.

use serde_json::Value;

use crate::decide::intent::Operation;

/// None if nothing changes. `forget` (the resource stays, unmanaged) is an update. Unknown actions could do
/// anything, so they are a delete.
pub(super) fn operation(actions: &Value, importing: bool) -> Option<Operation> {
    let words: Option<Vec<_>> = actions
        .as_array()
        .and_then(|words| words.iter().map(Value::as_str).collect());
    let words = words.unwrap_or_default();
    let known = ["no-op", "read", "create", "update", "delete", "forget"];
    let has = |word| words.contains(&word);
    if words.is_empty() || !words.iter().all(|word| known.contains(word)) {
        Some(Operation::Delete)
    } else if has("create") && (has("delete") || has("forget")) {
        Some(Operation::Replace)
    } else if has("delete") {
        Some(Operation::Delete)
    } else if importing {
        Some(Operation::Import)
    } else if has("create") {
        Some(Operation::Create)
    } else if has("update") || has("forget") {
        Some(Operation::Update)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_combination_of_actions_comes_to_one_operation() {
        let plain = [
            (json!(["no-op"]), None),
            (json!(["read"]), None),
            (json!(["create"]), Some(Operation::Create)),
            (json!(["update"]), Some(Operation::Update)),
            (json!(["delete"]), Some(Operation::Delete)),
            (json!(["delete", "create"]), Some(Operation::Replace)),
            (json!(["create", "delete"]), Some(Operation::Replace)),
            (json!(["forget"]), Some(Operation::Update)),
            (json!(["create", "forget"]), Some(Operation::Replace)),
            (json!(["update", "explode"]), Some(Operation::Delete)),
            (json!(["explode"]), Some(Operation::Delete)),
            (json!(["no-op", 1]), Some(Operation::Delete)),
            (json!([]), Some(Operation::Delete)),
            (json!("no-op"), Some(Operation::Delete)),
            (Value::Null, Some(Operation::Delete)),
        ];
        for (actions, expected) in plain {
            assert_eq!(operation(&actions, false), expected, "{actions}");
        }
        let importing = [
            (json!(["no-op"]), Operation::Import),
            (json!(["update"]), Operation::Import),
            (json!(["delete", "create"]), Operation::Replace),
            (json!(["delete"]), Operation::Delete),
        ];
        for (actions, expected) in importing {
            assert_eq!(operation(&actions, true), Some(expected), "{actions}");
        }
    }
}
