//! Values of fields as text for people and plugins (TXN-23, PA-25).

use std::borrow::Cow;

use super::addresses::{self, AddressHeaderError, HeaderAddress};
use super::parameters::{extended, parameter};
use super::{Header, words};
use crate::mime::charset;

impl Header {
    /// The values of all fields of this name as text, joined by LF: unfolded, with encoded words and
    /// extended parameters decoded.
    ///
    /// Octets over 127 are read as UTF-8; if they are not, in the character set that Content-Type
    /// declares; else they become U+FFFD.
    #[must_use]
    pub fn get_decoded(&self, name: &str) -> String {
        let values: Vec<_> = self.get_all_decoded(name).collect();
        values.join("\n")
    }

    /// As [`get_decoded`](Self::get_decoded), one text per field.
    pub fn get_all_decoded(&self, name: &str) -> impl Iterator<Item = String> {
        self.get_all(name).map(|value| self.decode(value))
    }

    /// Decodes a value as one of this header.
    #[must_use]
    pub fn decode(&self, value: &[u8]) -> String {
        let mut text = self.text(value, "");
        let more = extended(&text);
        if !more.is_empty() {
            text.to_mut().push_str(&more);
        }
        words::decode(&text).into_owned()
    }

    /// The addresses of all fields of this name (From, To, Cc …), with encoded words in display names
    /// and comments decoded; empty if there is no such field.
    ///
    /// # Errors
    /// The first value that is no list of addresses.
    pub fn get_addresses(&self, name: &str) -> Result<Vec<HeaderAddress>, AddressHeaderError> {
        let mut all = Vec::new();
        for value in self.get_all(name) {
            let text = self.text(value, " ");
            if text.trim().is_empty() {
                continue;
            }
            all.extend(addresses::parse_header(
                &text,
                addresses::Options::default(),
            )?);
        }
        all.iter_mut().for_each(HeaderAddress::decode_words);
        Ok(all)
    }

    /// A value without line ends; `fold` stands for each with the blanks behind it, or, if it is
    /// empty, for the line end alone.
    fn text<'a>(&self, value: &'a [u8], fold: &str) -> Cow<'a, str> {
        let text = match std::str::from_utf8(value) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => self
                .declared_charset()
                .filter(|label| !is_utf8(label))
                .and_then(|label| charset::decode(value, &label))
                .map_or_else(|| String::from_utf8_lossy(value), Cow::Owned),
        };
        if !text.contains('\n') {
            return text;
        }
        let mut out = String::with_capacity(text.len());
        for (number, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if number > 0 && !fold.is_empty() {
                out.push_str(fold);
                out.push_str(line.trim_start_matches([' ', '\t']));
            } else {
                out.push_str(line);
            }
        }
        Cow::Owned(out)
    }

    fn declared_charset(&self) -> Option<String> {
        let value = String::from_utf8_lossy(self.get("content-type")?);
        parameter(&value, "charset").map(|label| label.trim_matches(['\'', ' ']).to_owned())
    }
}

pub(crate) fn is_utf8(label: &str) -> bool {
    let label = label.to_ascii_lowercase();
    label.contains("utf-8") || label.contains("utf8")
}
