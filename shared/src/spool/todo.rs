//! The header of a queue file: the envelope as JSON, in Haraka's frame (OUT-06, OUT-07).
//!
//! Pure: bytes to values and back. Keys that we do not know are kept and written again (PA-40).

use std::io::Write as _;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::error::ItemError;
use super::{HEADER_MAX, LENGTH_FIELD};
use crate::address::Address;

/// The envelope of one item: a message for the recipients of one domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Todo {
    /// When the message was accepted, in milliseconds since 1970.
    #[serde(default, deserialize_with = "milliseconds")]
    pub queue_time: u64,
    /// Domain that the message goes to.
    #[serde(default, deserialize_with = "null_is_default")]
    pub domain: String,
    /// Recipients still to be served.
    pub rcpt_to: Vec<Recipient>,
    /// Envelope sender.
    pub mail_from: Address,
    /// What plugins left on the transaction.
    #[serde(default = "empty_object")]
    pub notes: Value,
    /// Transaction id, a dot and the serial number of the item within it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub uuid: String,
    /// Written as Haraka does; without effect since Haraka 3.0.4.
    #[serde(default, deserialize_with = "null_is_default")]
    pub force_tls: bool,
    /// Length of the body in bytes (PB-20). Files of Haraka do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// In an item written together with others: the name of the one whose appearance made them all
    /// valid. Means nothing once they are in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lead: Option<String>,
    /// Keys of plugins and of other versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One recipient and what has happened to it so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address.
    #[serde(flatten)]
    pub address: Address,
    /// Result of the last attempt; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Box<RecipientState>>,
    /// Keys of plugins and of other versions, and the parameters of RCPT (RFC 3461).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl From<Address> for Recipient {
    fn from(address: Address) -> Self {
        Self {
            address,
            state: None,
            extra: Map::new(),
        }
    }
}

/// What a delivery report says about a recipient; it survives restarts (PB-38). Names as in
/// Haraka's `rcpt_to[].dsn_*`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecipientState {
    /// `delayed`, `failed` and so on (RFC 3464 section 2.3.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsn_action: Option<String>,
    /// Enhanced status code (RFC 3463).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsn_status: Option<String>,
    /// SMTP code that Haraka's table gives for the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsn_code: Option<u16>,
    /// Text for the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsn_msg: Option<String>,
    /// Code of the remote's last reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsn_smtp_code: Option<u16>,
    /// Enhanced code of the remote's last reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsn_smtp_extc: Option<String>,
    /// Text of the remote's last reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsn_smtp_response: Option<String>,
    /// Host that gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsn_remote_mta: Option<String>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<u64>,
}

/// A parsed header and where the body starts.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedItem {
    /// The envelope.
    pub todo: Todo,
    /// Offset of the first byte after the header.
    pub body_offset: u64,
}

/// Length of the JSON part as the first four bytes give it.
///
/// # Errors
/// No or too few bytes, or a length over [`HEADER_MAX`]: known before any memory is taken.
pub fn header_len(start: &[u8]) -> Result<u32, ItemError> {
    if start.is_empty() {
        return Err(ItemError::Empty);
    }
    let Some(field) = start.first_chunk::<4>() else {
        return Err(ItemError::Truncated {
            needed: LENGTH_FIELD,
            found: start.len() as u64,
        });
    };
    let len = u32::from_be_bytes(*field);
    if len > HEADER_MAX {
        return Err(ItemError::HeaderTooLong { len: len.into() });
    }
    Ok(len)
}

/// Reads the header of a queue file from its beginning; the body may follow or not.
///
/// # Errors
/// Whatever makes the file useless, see [`ItemError`].
pub fn parse_item(bytes: &[u8]) -> Result<ParsedItem, ItemError> {
    let len = header_len(bytes)?;
    let needed = LENGTH_FIELD + u64::from(len);
    let json = bytes
        .get(LENGTH_FIELD as usize..needed as usize)
        .ok_or(ItemError::Truncated {
            needed,
            found: bytes.len() as u64,
        })?;
    // Haraka decodes the header the same way, so it never fails on a stray byte
    let text = String::from_utf8_lossy(json);
    let todo = serde_json::from_str(&text).map_err(|e| ItemError::Header(e.to_string()))?;
    Ok(ParsedItem {
        todo,
        body_offset: needed,
    })
}

/// Appends the header of `todo` to `out`: length, LF, JSON indented with tabs, LF.
///
/// # Errors
/// A header over [`HEADER_MAX`].
pub fn write_header(todo: &Todo, out: &mut Vec<u8>) -> Result<(), ItemError> {
    let start = out.len();
    out.extend_from_slice(b"\0\0\0\0\n");
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, formatter);
    todo.serialize(&mut serializer)
        .map_err(|e| ItemError::Header(e.to_string()))?;
    out.push(b'\n');
    let len = out.len() - start - LENGTH_FIELD as usize;
    let field = u32::try_from(len).ok().filter(|len| *len <= HEADER_MAX);
    let Some(field) = field else {
        return Err(ItemError::HeaderTooLong { len: len as u64 });
    };
    if let Some(mut place) = out.get_mut(start..) {
        let _ = place.write(&field.to_be_bytes());
    }
    Ok(())
}

fn empty_object() -> Value {
    Value::Object(Map::new())
}

/// JavaScript numbers may have a fraction; plugins may have put anything there.
fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    // negative and huge values saturate
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let from_float = |v: &Value| v.as_f64().map(|f| f as u64);
    Ok(value.as_u64().or_else(|| from_float(&value)).unwrap_or(0))
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(json: &str) -> Vec<u8> {
        let mut bytes = (json.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes
    }

    const MINIMAL: &str = r#"{"rcpt_to":[{"original":"<a@b.c>","host":"b.c","user":"a"}],"mail_from":{"original":"<>","user":null,"host":null}}"#;

    // covers OUT-06, OUT-07, PA-11
    #[test]
    fn header_is_written_as_haraka_writes_it() {
        let todo = Todo {
            queue_time: 1_508_521_948_402,
            domain: "b.c".into(),
            rcpt_to: vec![Address::from_parts("a", "B.c").unwrap().into()],
            mail_from: Address::null(),
            notes: serde_json::json!({"a": [], "b": {}, "c": ["\u{1}/\u{7f}é"]}),
            uuid: "U.1.1".into(),
            force_tls: false,
            size: Some(3),
            lead: None,
            extra: Map::new(),
        };
        let mut out = Vec::new();
        write_header(&todo, &mut out).unwrap();
        let (len, json) = out.split_at(4);
        assert_eq!(len, (json.len() as u32).to_be_bytes());
        let expected = "\n{\n\t\"queue_time\": 1508521948402,\n\t\"domain\": \"b.c\",\n\t\"rcpt_to\": [\n\t\t{\n\t\t\t\"original\": \"a@B.c\",\n\t\t\t\"original_host\": \"B.c\",\n\t\t\t\"host\": \"b.c\",\n\t\t\t\"user\": \"a\"\n\t\t}\n\t],\n\t\"mail_from\": {\n\t\t\"original\": \"<>\",\n\t\t\"host\": \"\",\n\t\t\"user\": \"\"\n\t},\n\t\"notes\": {\n\t\t\"a\": [],\n\t\t\"b\": {},\n\t\t\"c\": [\n\t\t\t\"\\u0001/\u{7f}é\"\n\t\t]\n\t},\n\t\"uuid\": \"U.1.1\",\n\t\"force_tls\": false,\n\t\"size\": 3\n}\n";
        assert_eq!(std::str::from_utf8(json).unwrap(), expected);
        out.extend_from_slice(b"hi\n");
        let back = parse_item(&out).unwrap();
        assert_eq!(back.todo, todo);
        assert_eq!(back.body_offset, out.len() as u64 - 3);
    }

    // covers PA-40, PB-38
    #[test]
    fn unknown_keys_and_recipient_states_survive_rewriting() {
        let json = r#"{"queue_time":1.5e3,"rcpt_to":[{"original":"<a@b.c>","host":"b.c","user":"a","phrase":"","x":[1],"state":{"dsn_status":"4.2.0","dsn_smtp_code":451}}],"mail_from":{"original":"<>","user":"","host":""},"plugin_key":{"deep":[null]}}"#;
        let first = parse_item(&framed(json)).unwrap().todo;
        assert_eq!(first.queue_time, 1500);
        let mut out = Vec::new();
        write_header(&first, &mut out).unwrap();
        let second = parse_item(&out).unwrap().todo;
        assert_eq!(second, first);
        assert_eq!(second.extra["plugin_key"]["deep"][0], Value::Null);
        assert_eq!(second.rcpt_to[0].extra["x"][0], 1);
        let state = second.rcpt_to[0].state.as_deref().unwrap();
        assert_eq!(state.dsn_status.as_deref(), Some("4.2.0"));
        assert_eq!(state.dsn_smtp_code, Some(451));
    }

    #[test]
    fn sparse_headers_of_old_files_are_read() {
        let todo = parse_item(&framed(MINIMAL)).unwrap().todo;
        assert!(todo.mail_from.is_null());
        assert_eq!(todo.rcpt_to[0].address.user(), "a");
        assert_eq!(todo.size, None);
    }

    // covers OUT-16
    #[test]
    fn damaged_headers_are_typed_errors() {
        assert_eq!(parse_item(b"").unwrap_err(), ItemError::Empty);
        assert_eq!(
            parse_item(b"\0\0").unwrap_err(),
            ItemError::Truncated {
                needed: 4,
                found: 2
            }
        );
        assert_eq!(
            parse_item(b"\0\0\0\x09{}").unwrap_err(),
            ItemError::Truncated {
                needed: 13,
                found: 6
            }
        );
        assert_eq!(
            parse_item(b"\xff\xff\xff\xff").unwrap_err(),
            ItemError::HeaderTooLong { len: 0xffff_ffff }
        );
        for json in ["", "{", "{}", "[]", "null", "\n{\"rcpt_to\":[]}\n"] {
            let error = parse_item(&framed(json)).unwrap_err();
            assert!(matches!(error, ItemError::Header(_)), "{json}");
        }
    }

    #[test]
    fn deeply_nested_notes_are_refused_without_a_stack_overflow() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let json = MINIMAL.replace("{\"rcpt_to\"", &format!("{{\"notes\":{deep},\"rcpt_to\""));
        assert!(matches!(
            parse_item(&framed(&json)),
            Err(ItemError::Header(_))
        ));
    }
}
