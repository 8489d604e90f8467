//! Awards of `haraka-plugin-karma` for what is found: whether any may be for a finding, for `haraka/karma.js`.
//!
//! Gives none: that is the package's own. Says yes wherever it is not sure.

use std::rc::Rc;

use rquickjs::{Ctx, Object, Value};

use super::op;
use crate::js::finding::{self, Found, Held};
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "concern", concern);
    Ok(())
}

/// Whether one of these awards may be for what a message tells: a list for each plugin and name.
fn concern<'js>(awards: Value<'js>, message: Value<'js>) -> rquickjs::Result<bool> {
    let (Some(awards), Some(message)) = (awards.as_object(), message.as_string()) else {
        return Ok(true);
    };
    let Ok(message) = message.to_string() else {
        return Ok(true);
    };
    let Some(heard) = finding::heard(&message) else {
        return Ok(true);
    };
    let Found(found) = heard.result;
    // Awards for networks stand elsewhere.
    if found.iter().any(|(name, _)| name == "asn") {
        return Ok(true);
    }
    let of: Value<'js> = awards.get(&*heard.plugin)?;
    let Some(of) = of.as_object() else {
        return Ok(!of.is_undefined());
    };
    for (name, held) in &found {
        let list: Value<'js> = of.get(&**name)?;
        if !list.is_undefined() && one_is_for(&list, held)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn one_is_for<'js>(list: &Value<'js>, held: &Held<'_>) -> rquickjs::Result<bool> {
    let (Some(list), Held::Text(text)) = (list.as_array(), held) else {
        return Ok(true);
    };
    for award in list.iter::<Value<'js>>() {
        let award = award?;
        let Some(award) = award.as_object() else {
            return Ok(true);
        };
        let operator: Value<'js> = award.get("operator")?;
        let wanted: Value<'js> = award.get("value")?;
        let (Some(operator), Some(wanted)) = (operator.as_string(), wanted.as_string()) else {
            return Ok(true);
        };
        if may_be(text, &operator.to_string()?, &wanted.to_string()?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an award may be for a text.
fn may_be(text: &str, operator: &str, wanted: &str) -> bool {
    match operator {
        // Asks whether there is anything at all.
        "equals" | "equal" | "eq" if wanted == "true" => true,
        "equals" | "equal" | "eq" => text == wanted,
        "match" if is_literal(wanted) => contains(text, wanted),
        _ => true,
    }
}

/// Whether an expression has nothing in it but what it looks for.
fn is_literal(expression: &str) -> bool {
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"_-@ ".contains(octet);
    expression.as_bytes().iter().all(plain)
}

/// In letters of either case. Expressions without the flag `u` fold no other letter to one of ASCII.
fn contains(text: &str, wanted: &str) -> bool {
    let mut windows = text.as_bytes().windows(wanted.len().max(1));
    wanted.is_empty() || windows.any(|part| part.eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_award_is_for_a_text_only_where_its_condition_may_hold() {
        for (text, operator, wanted, expected) in [
            ("bad", "equals", "bad", true),
            ("bad", "eq", "Bad", false),
            ("", "equals", "true", true),
            ("missing", "match", "MISS", true),
            ("misses", "match", "missing", false),
            ("", "match", "a", false),
            ("a", "match", "", true),
            ("a", "match", "b|a", true),
            ("mi\u{17f}sing", "match", "missing", false),
            ("1", "gt", "4", true),
            ("1", "other", "4", true),
        ] {
            assert_eq!(
                may_be(text, operator, wanted),
                expected,
                "{text} {operator} {wanted}"
            );
        }
    }
}
