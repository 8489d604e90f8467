//! RESP3, as far as it is spoken here: where each frame ends that redis says, the texts of those that
//! followers of a pattern get and the usual replies, for `haraka/redis_client.js`; and what is said to publish
//! something.
//!
//! Reads no other frame: the client of npm does, which gets them whole. Knows no socket.

use std::borrow::Cow;
use std::io::Write as _;
use std::rc::Rc;

use rquickjs::{Array, Ctx, IntoJs, Object, Value};

use super::op;
use crate::js::convert::{Bytes, lossy};
use crate::js::host::Host;

/// How deep frames may stand in one another; what is deeper is left to the client.
const DEEPEST: u8 = 16;

/// What starts a frame that followers of a pattern get: a push of four, the first of which says so.
const SAID: &[u8] = b">4\r\n$8\r\npmessage\r\n";

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "frames", |ctx: Ctx<'js>, octets: Bytes| {
        split(&octets.0).map(|frames| frames.told(&ctx)).transpose()
    });
    Ok(())
}

/// Adds what tells redis of a message.
pub(super) fn publish_command(to: &mut Vec<u8>, channel: &[u8], message: &[u8]) {
    to.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n");
    for text in [channel, message] {
        // Writing to memory does not fail.
        let _ = write!(to, "${}\r\n", text.len());
        to.extend_from_slice(text);
        to.extend_from_slice(b"\r\n");
    }
}

/// One of the frames.
#[derive(Debug, PartialEq, Eq)]
enum Frame<'a> {
    /// For the followers of a pattern.
    Said(Said<'a>),
    /// Another, from here to there.
    Other(usize, usize),
}

/// What was published, and where.
#[derive(Debug, PartialEq, Eq)]
struct Said<'a> {
    pattern: Cow<'a, str>,
    channel: Cow<'a, str>,
    message: Cow<'a, str>,
}

/// Whole frames, and where they end.
#[derive(Debug, PartialEq, Eq)]
struct Frames<'a> {
    octets: &'a [u8],
    all: Vec<Frame<'a>>,
    end: usize,
}

impl<'a> Frames<'a> {
    /// The end. Then for all frames in a row that tell of one channel its pattern, itself, how many they are and what
    /// each tells; for another frame a list of the reply or null, its start and its end. The engine makes one array
    /// faster than many objects.
    fn told<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        let mut flat = vec![Value::new_number(ctx.clone(), self.end as f64)];
        let mut rest = self.all.as_slice();
        while let Some(first) = rest.first() {
            let alike = match first {
                Frame::Said(said) => {
                    let alike = rest
                        .iter()
                        .map_while(Frame::said)
                        .take_while(|other| said.is_where(other));
                    let messages: Vec<&str> = alike.map(|other| &*other.message).collect();
                    flat.push((&*said.pattern).into_js(ctx)?);
                    flat.push((&*said.channel).into_js(ctx)?);
                    flat.push(messages.len().into_js(ctx)?);
                    for message in &messages {
                        flat.push(message.into_js(ctx)?);
                    }
                    messages.len()
                }
                Frame::Other(start, end) => {
                    let octets = self.octets.get(*start..*end).unwrap_or_default();
                    flat.push(match reply(ctx, octets)? {
                        Some((value, _)) => vec![value].into_js(ctx)?,
                        None => Value::new_null(ctx.clone()),
                    });
                    flat.push(start.into_js(ctx)?);
                    flat.push(end.into_js(ctx)?);
                    1
                }
            };
            rest = rest.get(alike..).unwrap_or_default();
        }
        flat.into_js(ctx)
    }
}

impl<'a> Frame<'a> {
    fn said(&self) -> Option<&Said<'a>> {
        match self {
            Frame::Said(said) => Some(said),
            Frame::Other(..) => None,
        }
    }
}

impl Said<'_> {
    fn is_where(&self, other: &Self) -> bool {
        self.channel == other.channel && self.pattern == other.pattern
    }
}

/// Nothing if there is a frame of a kind that is not known, or that is no frame.
fn split(octets: &[u8]) -> Option<Frames<'_>> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < octets.len() {
        if let Some((said, rest)) = said(octets.get(at..)?) {
            all.push(Frame::Said(said));
            at = octets.len() - rest.len();
            continue;
        }
        let end = match end_of_frame(octets, at, DEEPEST) {
            End::At(end) => end,
            End::Later => break,
            End::Unknown => return None,
        };
        all.push(Frame::Other(at, end));
        at = end;
    }
    Some(Frames {
        octets,
        all,
        end: at,
    })
}

/// Where a frame ends.
enum End {
    /// Before this octet.
    At(usize),
    /// In what has not come yet.
    Later,
    /// Who knows.
    Unknown,
}

fn end_of_frame(octets: &[u8], at: usize, deep: u8) -> End {
    let Some(kind) = octets.get(at) else {
        return End::Later;
    };
    let Some(deep) = deep.checked_sub(1) else {
        return End::Unknown;
    };
    if !b"_#:,(+-$=!*~%>".contains(kind) {
        return End::Unknown;
    }
    let Some((line, next)) = line(octets, at + 1) else {
        return End::Later;
    };
    if b"_#:,(+-".contains(kind) {
        return End::At(next);
    }
    if line == b"-1" {
        return End::At(next);
    }
    let Some(length) = number(line) else {
        return End::Unknown;
    };
    if b"$=!".contains(kind) {
        return match next.checked_add(length).and_then(|end| end.checked_add(2)) {
            Some(end) if end <= octets.len() => End::At(end),
            Some(_) => End::Later,
            None => End::Unknown,
        };
    }
    let Some(count) = length.checked_mul(if *kind == b'%' { 2 } else { 1 }) else {
        return End::Unknown;
    };
    let mut at = next;
    for _ in 0..count {
        match end_of_frame(octets, at, deep) {
            End::At(end) => at = end,
            other => return other,
        }
    }
    End::At(at)
}

/// What stands from here to the end of the line, and where the next begins.
fn line(octets: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = octets.get(from..)?;
    let end = memchr::memchr(b'\r', rest)?;
    rest.get(end + 1)?;
    Some((rest.get(..end)?, from + end + 2))
}

/// No signs, no blanks.
fn number(digits: &[u8]) -> Option<usize> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What a reply is where nobody asks for another form, and what stands behind it; nothing for errors, what is
/// pushed, and kinds that are rare.
fn reply<'js, 'a>(
    ctx: &Ctx<'js>,
    octets: &'a [u8],
) -> rquickjs::Result<Option<(Value<'js>, &'a [u8])>> {
    let Some(&kind) = octets.first() else {
        return Ok(None);
    };
    let Some((head, next)) = line(octets, 1) else {
        return Ok(None);
    };
    let mut rest = octets.get(next..).unwrap_or_default();
    let value = match (kind, head) {
        (b'_', _) | (b'$' | b'*', b"-1") => Value::new_null(ctx.clone()),
        (b'#', _) => Value::new_bool(ctx.clone(), head == b"t"),
        (b'+', _) => (&*lossy(head)).into_js(ctx)?,
        (b':', _) => match integer(head) {
            Some(integer) => Value::new_number(ctx.clone(), integer),
            None => return Ok(None),
        },
        (b'$', _) => match text(octets) {
            Some((text, behind)) => {
                rest = behind;
                (&*text).into_js(ctx)?
            }
            None => return Ok(None),
        },
        (b'*' | b'~', _) => {
            let array = Array::new(ctx.clone())?;
            for at in 0..number(head).unwrap_or_default() {
                let Some((item, behind)) = reply(ctx, rest)? else {
                    return Ok(None);
                };
                array.set(at, item)?;
                rest = behind;
            }
            array.into_value()
        }
        (b'%', _) => {
            let object = Object::new(ctx.clone())?;
            for _ in 0..number(head).unwrap_or_default() {
                let Some((key, behind)) = reply(ctx, rest)?.filter(|(key, _)| key.is_string())
                else {
                    return Ok(None);
                };
                let Some((item, behind)) = reply(ctx, behind)? else {
                    return Ok(None);
                };
                object.set(key, item)?;
                rest = behind;
            }
            object.into_value()
        }
        _ => return Ok(None),
    };
    Ok(Some((value, rest)))
}

/// One that is exact as the engine has numbers; a zero with a sign is another number.
fn integer(head: &[u8]) -> Option<f64> {
    let digits = head.strip_prefix(b"-").unwrap_or(head);
    if digits.len() > 15 {
        return None;
    }
    let size = number(digits)? as f64;
    match digits.len() == head.len() {
        true => Some(size),
        false => (size != 0.0).then_some(-size),
    }
}

/// The texts of a frame for followers of a pattern, and what stands behind it.
fn said(octets: &[u8]) -> Option<(Said<'_>, &[u8])> {
    let rest = octets.strip_prefix(SAID)?;
    let (pattern, rest) = text(rest)?;
    let (channel, rest) = text(rest)?;
    let (message, rest) = text(rest)?;
    let said = Said {
        pattern,
        channel,
        message,
    };
    Some((said, rest))
}

fn text(frame: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let (digits, next) = line(frame.strip_prefix(b"$")?, 0)?;
    let rest = frame.get(next + 1..)?;
    let (text, rest) = rest.split_at_checked(number(digits)?)?;
    Some((lossy(text), rest.strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &[u8] = b">4\r\n$8\r\npmessage\r\n$3\r\na-*\r\n$3\r\na-b\r\n$7\r\n{\"a\":1}\r\n";

    fn told() -> Frame<'static> {
        Frame::Said(Said {
            pattern: "a-*".into(),
            channel: "a-b".into(),
            message: "{\"a\":1}".into(),
        })
    }

    #[test]
    fn frames_are_told_apart_wherever_what_came_was_cut() {
        let others = b"%1\r\n$1\r\nk\r\n*2\r\n:1\r\n$-1\r\n_\r\n-ERR no\r\n>1\r\n+x\r\n";
        let all = [TOLD, others, TOLD, TOLD].concat();
        let whole = split(&all).unwrap();
        let others: Vec<&[u8]> = (whole.all.iter())
            .filter_map(|frame| match frame {
                Frame::Other(start, end) => Some(&all[*start..*end]),
                Frame::Said(_) => None,
            })
            .collect();
        let expected: [&[u8]; 4] = [
            b"%1\r\n$1\r\nk\r\n*2\r\n:1\r\n$-1\r\n",
            b"_\r\n",
            b"-ERR no\r\n",
            b">1\r\n+x\r\n",
        ];
        assert_eq!(others, expected);
        assert_eq!(whole.all.iter().filter(|f| **f == told()).count(), 3);
        assert_eq!(whole.end, all.len());
        for cut in 0..all.len() {
            let first = split(&all[..cut]).unwrap();
            let rest = split(&all[first.end..]).unwrap();
            assert_eq!(first.end + rest.end, all.len(), "cut at {cut}");
            let said = |frames: &Frames<'_>| frames.all.iter().filter(|f| **f == told()).count();
            assert_eq!(said(&first) + said(&rest), 3, "cut at {cut}");
        }
    }

    #[test]
    fn publishing_tells_lengths_in_octets() {
        let mut said = b"before".to_vec();
        publish_command(&mut said, b"result-A", "\u{e9}".as_bytes());
        let expected = "before*3\r\n$7\r\nPUBLISH\r\n$8\r\nresult-A\r\n$2\r\n\u{e9}\r\n";
        assert_eq!(said, expected.as_bytes());
    }

    #[test]
    fn what_is_no_frame_or_of_an_unknown_kind_is_left() {
        for odd in [
            &b"?\r\n"[..],
            b"$x\r\n",
            b"$-2\r\n",
            b"*1\r\n|1\r\n",
            b"$18446744073709551615\r\n",
            b"%18446744073709551615\r\n",
        ] {
            assert_eq!(split(odd), None);
        }
        let deep = b"*1\r\n".repeat(usize::from(DEEPEST) + 1);
        assert_eq!(split(&deep), None);
        // For others than followers of a pattern.
        let channel = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n";
        let frames = split(channel).unwrap();
        assert_eq!(frames.all, [Frame::Other(0, channel.len())]);
        // A pattern that is no text.
        let odd = b">4\r\n$8\r\npmessage\r\n:1\r\n$1\r\na\r\n$1\r\nb\r\n";
        assert_eq!(split(odd).unwrap().all, [Frame::Other(0, odd.len())]);
    }
}
