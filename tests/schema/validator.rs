//! Holds values against a JSON Schema, for tests: the keywords that our schema uses, and no other.

use serde_json::Value;
use std::collections::BTreeSet;

/// Whether a value is as a schema says; else where it is not, and why.
///
/// # Panics
/// When the schema has a keyword that is not known here.
pub(crate) fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let keywords = schema.as_object().expect("a schema is an object");
    for (keyword, wanted) in keywords {
        let holds = match keyword.as_str() {
            "$schema" | "title" | "description" | "format" | "then" => true,
            "type" => types(wanted).iter().any(|name| is_a(value, name)),
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "required" => {
                let missing = |key: &&Value| value.is_object() && value.get(key.as_str().unwrap()).is_none();
                wanted.as_array().unwrap().iter().find(missing).is_none()
            }
            "properties" => each(wanted, value)?,
            "additionalProperties" => others(wanted, value, keywords)?,
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(wanted, item).map_err(|why| format!("[{at}]{why}"))?;
                }
                true
            }
            "anyOf" => wanted.as_array().unwrap().iter().any(|schema| check(schema, value).is_ok()),
            "allOf" => {
                for schema in wanted.as_array().unwrap() {
                    check(schema, value)?;
                }
                true
            }
            "if" => {
                if check(wanted, value).is_ok() {
                    check(&keywords["then"], value)?;
                }
                true
            }
            other => panic!("`{other}` is not known here"),
        };
        if !holds {
            return Err(format!(": {value} is not as `{keyword}` {wanted} says"));
        }
    }
    Ok(())
}

fn each(wanted: &Value, value: &Value) -> Result<bool, String> {
    for (key, schema) in wanted.as_object().unwrap() {
        if let Some(inner) = value.get(key) {
            check(schema, inner).map_err(|why| format!(".{key}{why}"))?;
        }
    }
    Ok(true)
}

fn others(wanted: &Value, value: &Value, keywords: &serde_json::Map<String, Value>) -> Result<bool, String> {
    let named = keywords.get("properties").and_then(Value::as_object);
    for (key, inner) in value.as_object().into_iter().flatten() {
        if named.is_some_and(|named| named.contains_key(key)) {
            continue;
        }
        match wanted {
            Value::Bool(true) => {}
            Value::Bool(false) => return Err(format!(".{key} is not named")),
            schema => check(schema, inner).map_err(|why| format!(".{key}{why}"))?,
        }
    }
    Ok(true)
}

fn types(wanted: &Value) -> Vec<&str> {
    wanted.as_str().into_iter().chain(wanted.as_array().into_iter().flatten().filter_map(Value::as_str)).collect()
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("`{other}` is no type"),
    }
}

/// The keys that a schema names below a value, each with those above it: `quote.from`, `items[].name`.
#[allow(dead_code, reason = "one of those who share this asks for it")]
pub(crate) fn named(schema: &Value, at: &str, into: &mut BTreeSet<String>) {
    for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let at = format!("{at}.{key}");
        named(inner, &at, into);
        into.insert(at);
    }
    for inner in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        named(inner, at, into);
    }
    if let Some(items) = schema.get("items") {
        named(items, &format!("{at}[]"), into);
    }
}

/// The keys that a value has, named as in [`named`].
#[allow(dead_code, reason = "one of those who share this asks for it")]
pub(crate) fn told(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, inner) in members {
                let at = format!("{at}.{key}");
                told(inner, &at, into);
                into.insert(at);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| told(item, &format!("{at}[]"), into)),
        _ => {}
    }
}
