//! How a plugin's own files and the install directory's go together (CFS-09 to CFS-11): key by key,
//! what the operator says wins, and arrays go together item by item (PA-34).

use serde_json::Value;

use super::typed_values::{Typed, TypedSection};

/// Lays `over` upon `base`. A null says nothing.
pub fn merge(base: Value, over: Value) -> Value {
    match (base, over) {
        (base, Value::Null) => base,
        (Value::Object(mut base), Value::Object(over)) => {
            for (key, value) in over {
                if ["__proto__", "constructor"].contains(&&*key) {
                    continue;
                }
                match base.get_mut(&key) {
                    Some(held) => *held = merge(held.take(), value),
                    // A null upon nothing is left out too.
                    None if value.is_null() => {}
                    None => {
                        base.insert(key, value);
                    }
                }
            }
            Value::Object(base)
        }
        (Value::Array(base), Value::Array(over)) => Value::Array(by_index(base, over, merge)),
        (_, over) => over,
    }
}

/// The same for ini files as scripts see them. A key without `=` counts in the operator's file alone.
pub fn merge_typed(mut base: Vec<TypedSection>, over: Vec<TypedSection>) -> Vec<TypedSection> {
    for (_, keys) in &mut base {
        keys.retain(|(_, value)| !matches!(value, Typed::Undefined));
    }
    for (name, keys) in over {
        let Some((_, held)) = base.iter_mut().find(|(n, _)| *n == name) else {
            base.push((name, keys));
            continue;
        };
        for (key, value) in keys {
            match held.iter_mut().find(|(k, _)| *k == key) {
                None => held.push((key, value)),
                Some((_, held)) => {
                    let before = std::mem::replace(held, Typed::Undefined);
                    *held = match (before, value) {
                        (Typed::List(base), Typed::List(over)) => {
                            Typed::List(by_index(base, over, |_, over| over))
                        }
                        (_, value) => value,
                    };
                }
            }
        }
    }
    base
}

/// Each item of `over` upon that of the same place; a longer base keeps its tail.
pub(super) fn by_index<T>(base: Vec<T>, over: Vec<T>, join: impl Fn(T, T) -> T) -> Vec<T> {
    let mut base = base.into_iter();
    let mut out: Vec<T> = over
        .into_iter()
        .map(|over| match base.next() {
            Some(base) => join(base, over),
            None => over,
        })
        .collect();
    out.extend(base);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_go_together_and_the_operators_win() {
        // covers CFS-09
        let base = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": "x", "g": {"h": 1}});
        let over = json!({"b": {"c": 9, "n": null}, "e": null, "f": [1], "g": 5, "constructor": 1});
        let want = json!({"a": 1, "b": {"c": 9, "d": 3}, "e": "x", "f": [1], "g": 5});
        assert_eq!(merge(base, over), want);
    }

    #[test]
    fn keys_without_a_value_are_kept_of_the_operators_file_alone() {
        // covers CFS-09
        let section = |keys: &[(&str, Typed)]| {
            let keys = keys.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
            vec![("a".to_owned(), keys.collect())]
        };
        let number = Typed::Number(1.0);
        let base = section(&[
            ("bare", Typed::Undefined),
            ("k", number.clone()),
            ("l", number.clone()),
        ]);
        let over = section(&[("own", Typed::Undefined), ("l", Typed::Undefined)]);
        let want = section(&[
            ("k", number),
            ("l", Typed::Undefined),
            ("own", Typed::Undefined),
        ]);
        assert_eq!(merge_typed(base, over), want);
    }

    #[test]
    fn short_array_keeps_the_tail_of_the_default() {
        // covers PA-34
        let merged = merge(json!({"z": [1, {"a": 1}, 3]}), json!({"z": [9, {"b": 2}]}));
        assert_eq!(merged, json!({"z": [9, {"a": 1, "b": 2}, 3]}));
        assert_eq!(merge(json!([1]), json!([2, null, 4])), json!([2, null, 4]));
    }
}
