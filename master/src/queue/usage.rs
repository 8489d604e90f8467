//! The limits per destination in `haraka queue stat`: how much of each is in use.

use std::io::Write;

use haraka_shared::waiting::span;
use serde_json::Value;

use super::ToolError;
use super::text::plain;

/// Limits that are shown to people.
const SHOWN: usize = 20;

/// One line for each.
pub(super) fn as_text(usage: &Value, out: &mut impl Write) -> Result<(), ToolError> {
    let rows = usage.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "{:>11} {:>15} {:>7}  LIMIT",
        "CONNECTIONS", "RATE", "WAITING"
    )?;
    for row in rows.iter().take(SHOWN) {
        let number = |key: &str| row[key].as_u64();
        let now = number("connections").unwrap_or(0);
        let connections = match number("most_connections") {
            Some(most) => format!("{now}/{most}"),
            None => now.to_string(),
        };
        let rate = &row["rate"];
        let rate = match (rate["messages"].as_u64(), rate["milliseconds"].as_u64()) {
            (Some(messages), Some(ms)) => format!("{messages}/{}", span(ms)),
            _ => "-".to_owned(),
        };
        writeln!(
            out,
            "{connections:>11} {rate:>15} {:>7}  {}{}",
            number("waiting").unwrap_or(0),
            plain(row["name"].as_str().unwrap_or_default()),
            plain(&remarks(row))
        )?;
    }
    if rows.len() > SHOWN {
        writeln!(out, "… and {} more limits", rows.len() - SHOWN)?;
    }
    Ok(())
}

/// What is out of the ordinary.
fn remarks(row: &Value) -> String {
    let number = |key: &str| row[key].as_u64();
    let mut text = String::new();
    if let Some(share) = number("share").filter(|share| *share < 100) {
        text.push_str(&format!(", at {share}% after complaints"));
    }
    if let Some(ms) = number("suspended") {
        text.push_str(&format!(", left alone for {}", span(ms)));
    }
    if let Some(ms) = number("paced").filter(|ms| *ms >= 1000) {
        text.push_str(&format!(", next message in {}", span(ms)));
    }
    let today = &row["today"];
    if let (Some(sent), Some(most)) = (today["sent"].as_u64(), today["most"].as_u64()) {
        text.push_str(&format!(", {sent} of {most} messages today"));
    }
    if let Some(why) = row["why"].as_str() {
        text.push_str(&format!("; {why}"));
    }
    text
}
