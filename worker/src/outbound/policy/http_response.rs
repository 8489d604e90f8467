//! The answer of a web server to one GET, as far as an MTA-STS policy needs it (RFC 9112).
//!
//! A pure function of the octets received so far. Must never take a body for complete on the word of
//! whoever cut the connection: its length has to be said, or its chunks to end.

use httparse::{Status, parse_chunk_size};

/// Longest head that is read: status line and header fields.
const MAX_HEAD: usize = 16 * 1024;

/// Header fields that are looked at.
const MAX_FIELDS: usize = 100;

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Not HTTP, or broken.
    #[error("the answer is not HTTP")]
    Syntax,
    /// A head that does not end, or a body beyond the limit.
    #[error("the answer is too long")]
    TooLong,
    /// Any other status than 200; redirects too (RFC 8461 §3.3).
    #[error("the answer has status {0}")]
    Status(u16),
    /// Any other media type than `text/plain` (RFC 8461 §3.2).
    #[error("the answer is {0:?}, not text/plain")]
    Type(String),
    /// A coding that was not asked for.
    #[error("the answer is encoded as {0:?}")]
    Encoding(String),
    /// Neither length nor chunks.
    #[error("the answer does not tell its length")]
    Length,
    /// The connection ended too soon.
    #[error("the answer is cut short")]
    Short,
}

/// The body, once all of it is there; `None` as long as more has to come.
///
/// # Errors
/// [`HttpError`] as soon as it is clear that no usable body will come; with `ended`, the connection
/// has nothing more, so a body that is not complete is an error.
pub fn body(received: &[u8], ended: bool, limit: usize) -> Result<Option<Vec<u8>>, HttpError> {
    let whole = complete(received, limit)?;
    if whole.is_none() && ended {
        return Err(HttpError::Short);
    }
    Ok(whole)
}

fn complete(received: &[u8], limit: usize) -> Result<Option<Vec<u8>>, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let Status::Complete(length) = head.parse(received).map_err(|_| HttpError::Syntax)? else {
        let endless = received.len() > MAX_HEAD;
        return if endless {
            Err(HttpError::TooLong)
        } else {
            Ok(None)
        };
    };
    match head.code {
        Some(200) => {}
        Some(code) => return Err(HttpError::Status(code)),
        None => return Err(HttpError::Syntax),
    }
    let field = |name: &str| {
        let found = head
            .headers
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name));
        found.map(|f| String::from_utf8_lossy(f.value).trim().to_owned())
    };
    let media = field("Content-Type").unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("text/plain") {
        return Err(HttpError::Type(shortened(essence)));
    }
    if let Some(coding) = field("Content-Encoding")
        && !coding.eq_ignore_ascii_case("identity")
    {
        return Err(HttpError::Encoding(shortened(&coding)));
    }
    let rest = received.get(length..).unwrap_or_default();
    match field("Transfer-Encoding") {
        Some(coding) if coding.eq_ignore_ascii_case("chunked") => chunks(rest, limit),
        Some(coding) => Err(HttpError::Encoding(shortened(&coding))),
        None => {
            let said = field("Content-Length").ok_or(HttpError::Length)?;
            let length: usize = said.parse().map_err(|_| HttpError::Length)?;
            if length > limit {
                return Err(HttpError::TooLong);
            }
            Ok(rest.get(..length).map(<[u8]>::to_vec))
        }
    }
}

/// The content of a chunked body (RFC 9112 §7.1); trailers are not waited for.
fn chunks(mut rest: &[u8], limit: usize) -> Result<Option<Vec<u8>>, HttpError> {
    let mut content = Vec::new();
    loop {
        let (start, size) = match parse_chunk_size(rest) {
            Ok(Status::Complete(found)) => found,
            Ok(Status::Partial) if rest.len() <= MAX_HEAD => return Ok(None),
            Ok(Status::Partial) => return Err(HttpError::TooLong),
            Err(_) => return Err(HttpError::Syntax),
        };
        if size == 0 {
            return Ok(Some(content));
        }
        let size = usize::try_from(size).map_err(|_| HttpError::TooLong)?;
        if size > limit.saturating_sub(content.len()) {
            return Err(HttpError::TooLong);
        }
        let Some((chunk, after)) = rest.get(start..).and_then(|r| r.split_at_checked(size)) else {
            return Ok(None);
        };
        content.extend_from_slice(chunk);
        match after.split_at_checked(2) {
            None => return Ok(None),
            Some((b"\r\n", next)) => rest = next,
            Some(_) => return Err(HttpError::Syntax),
        }
    }
}

/// For error texts.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "HTTP/1.1 200 OK\r\ncontent-type: Text/Plain; charset=utf-8\r\n";

    fn whole(text: &str) -> Result<Option<Vec<u8>>, HttpError> {
        body(text.as_bytes(), true, 20)
    }

    #[test]
    fn bodies_of_said_length_and_in_chunks_are_read() {
        for (answer, content) in [
            (
                format!("{PLAIN}Content-Length: 5\r\n\r\nhello and more"),
                "hello",
            ),
            (format!("{PLAIN}Content-Length: 0\r\n\r\n"), ""),
            (
                format!(
                    "{PLAIN}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"
                ),
                "hello",
            ),
            (
                format!("{PLAIN}content-encoding: identity\r\ncontent-length: 1\r\n\r\n1"),
                "1",
            ),
        ] {
            assert_eq!(whole(&answer), Ok(Some(content.into())), "{answer}");
        }
    }

    #[test]
    fn nothing_is_complete_before_its_end() {
        for answer in [
            format!("{PLAIN}Content-Length: 5\r\n\r\nhello"),
            format!("{PLAIN}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n"),
        ] {
            for cut in 0..answer.len() {
                let part = &answer.as_bytes()[..cut];
                assert_eq!(body(part, false, 20), Ok(None), "{cut} of {answer}");
                assert_eq!(
                    body(part, true, 20),
                    Err(HttpError::Short),
                    "{cut} of {answer}"
                );
            }
            assert_eq!(whole(&answer), Ok(Some(b"hello".to_vec())));
        }
    }

    #[test]
    fn unusable_answers_say_why() {
        let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";
        for (answer, why) in [
            (
                "HTTP/1.1 301 Moved\r\nLocation: https://x/\r\n\r\n".to_owned(),
                HttpError::Status(301),
            ),
            ("HTTP/1.1 404 No\r\n\r\n".into(), HttpError::Status(404)),
            (
                format!("{html}Content-Length: 1\r\n\r\n1"),
                HttpError::Type("text/html".into()),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1".into(),
                HttpError::Type(String::new()),
            ),
            (
                format!("{PLAIN}Content-Encoding: gzip\r\n\r\n"),
                HttpError::Encoding("gzip".into()),
            ),
            (
                format!("{PLAIN}Transfer-Encoding: gzip, chunked\r\n\r\n"),
                HttpError::Encoding("gzip, chunked".into()),
            ),
            (format!("{PLAIN}\r\nhello"), HttpError::Length),
            (
                format!("{PLAIN}Content-Length: -1\r\n\r\n"),
                HttpError::Length,
            ),
            (
                format!("{PLAIN}Content-Length: 21\r\n\r\n"),
                HttpError::TooLong,
            ),
            (
                format!("{PLAIN}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
                HttpError::TooLong,
            ),
            (
                format!("{PLAIN}Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
                HttpError::Syntax,
            ),
            (
                format!("{PLAIN}Transfer-Encoding: chunked\r\n\r\n1\r\nabc"),
                HttpError::Syntax,
            ),
            (
                format!("{PLAIN}X: {}", "y".repeat(MAX_HEAD)),
                HttpError::TooLong,
            ),
            ("220 mail.example.com ESMTP\r\n".into(), HttpError::Syntax),
        ] {
            assert_eq!(whole(&answer), Err(why), "{answer:.100}");
        }
    }
}
