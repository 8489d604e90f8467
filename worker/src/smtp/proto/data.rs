//! The text after 354: where it ends, and the form in which it is stored and sent.
//!
//! Owns end of data (CRLF.CRLF and nothing else, PB-01), dot-stuffing (RFC 5321 §4.5.2) and what
//! becomes of a CR or LF that stands alone. What comes out is the dot-stuffed wire form with CRLF
//! everywhere, without the final dot. Must never fold, cut or decode a line (PB-35).

use memchr::memmem;

/// What to do with a CR without LF or an LF without CR inside of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareLineEnds {
    /// Each becomes CRLF; the text of the message stays the same otherwise.
    Convert,
    /// The message is read to its end and then refused with 550 5.6.11.
    Reject,
}

/// The first thing that [`BareLineEnds::Reject`] did not let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// CR without LF.
    CarriageReturn,
    /// LF without CR.
    LineFeed,
}

/// What became of a piece of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Octets that belong to the message or its end; what follows is the next command.
    pub consumed: usize,
    /// Whether the final dot was there.
    pub done: bool,
}

/// Reads a message in pieces of any size. Has no memory of its own beyond a few octets.
#[derive(Debug)]
pub struct DataScanner {
    policy: BareLineEnds,
    state: State,
    violation: Option<Violation>,
    received: u64,
    stored: u64,
}

/// Where in a line the next octet stands. Octets of `Cr`, `Dot` and `DotCr` have been read and not
/// been given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After CRLF, or at the beginning.
    LineStart,
    /// Within a line.
    Middle,
    /// After a CR whose LF has not come.
    Cr,
    /// After a CRLF that we made of a lone CR or LF: a dot here is text.
    Made,
    /// After the dot that a line begins with.
    Dot,
    /// After such a dot and a CR.
    DotCr,
}

impl DataScanner {
    /// A scanner at the beginning of a message.
    #[must_use]
    pub fn new(policy: BareLineEnds) -> Self {
        let state = State::LineStart;
        Self {
            policy,
            state,
            violation: None,
            received: 0,
            stored: 0,
        }
    }

    /// Reads until the input or the message ends. `out` gets the wire form in order, mostly as whole
    /// pieces of `input`; after a violation it gets nothing more.
    ///
    /// Not to be called again once `done` was true.
    pub fn scan(&mut self, input: &[u8], out: &mut impl FnMut(&[u8])) -> Scan {
        let scan = self.advance(input, out);
        self.received += scan.consumed as u64;
        scan
    }

    /// What [`BareLineEnds::Reject`] has found so far.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Octets read, the final dot included.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Octets given out.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored
    }

    fn advance(&mut self, input: &[u8], out: &mut impl FnMut(&[u8])) -> Scan {
        let mut at = match self.settle(input, 0, 0, out) {
            Settled::At(at) => at,
            Settled::End(consumed) => {
                return Scan {
                    consumed,
                    done: true,
                };
            }
        };
        // One search for the whole input: no match begins before `at`, as a settled state has no CR
        // behind it.
        let end = memmem::find(between(input, at, input.len()), END).map(|found| at + found + 2);
        let stop = end.unwrap_or(input.len());

        while at < stop {
            let clean = self.clean_until(input, at, stop);
            self.give(between(input, at, clean), out);
            at = clean;
            if at < stop {
                at = match self.settle(input, at, stop.min(at + BLOCK), out) {
                    Settled::At(at) => at,
                    Settled::End(consumed) => {
                        return Scan {
                            consumed,
                            done: true,
                        };
                    }
                };
            }
        }
        match end {
            Some(end) => {
                self.state = State::LineStart;
                Scan {
                    consumed: end + END.len() - 2,
                    done: true,
                }
            }
            None => Scan {
                consumed: input.len(),
                done: false,
            },
        }
    }

    /// How far the input can be given out as it is. There the state is settled again, and no CR or
    /// dot that needs to know its successor is left behind.
    fn clean_until(&mut self, input: &[u8], at: usize, stop: usize) -> usize {
        let mut limit = at;
        let mut previous = 0;
        for block in between(input, at, stop).chunks(BLOCK) {
            if self.violation.is_none() && !is_clean(previous, block) {
                break;
            }
            limit += block.len();
            previous = block.last().copied().unwrap_or_default();
        }

        let mut piece = between(input, at, limit);
        piece = piece.strip_suffix(b"\r").unwrap_or(piece);
        if piece.ends_with(b"\r\n.") {
            piece = piece.strip_suffix(b".").unwrap_or(piece);
        }
        if !piece.is_empty() {
            let line_start = piece.ends_with(b"\r\n");
            self.state = if line_start {
                State::LineStart
            } else {
                State::Middle
            };
        }
        at + piece.len()
    }

    /// Goes octet by octet at least to `until` and on to a state in which whole pieces can be taken.
    fn settle(
        &mut self,
        input: &[u8],
        mut at: usize,
        until: usize,
        out: &mut impl FnMut(&[u8]),
    ) -> Settled {
        let mut run = at;
        while let Some(&octet) = input.get(at) {
            if at >= until && self.is_settled_before(octet) {
                break;
            }
            at += 1;
            let plain = matches!(self.state, State::LineStart | State::Middle | State::Made);
            if plain && !self.is_special(octet) {
                self.state = State::Middle;
                continue;
            }
            self.give(between(input, run, at - 1), out);
            match self.special(octet, out) {
                Step::Taken => {}
                Step::Again => at -= 1,
                Step::End => return Settled::End(at),
            }
            run = at;
        }
        self.give(between(input, run, at), out);
        Settled::At(at)
    }

    fn is_settled_before(&mut self, next: u8) -> bool {
        match self.state {
            State::Middle => true,
            State::LineStart => next != b'.',
            State::Made if next != b'.' => {
                self.state = State::Middle;
                true
            }
            State::Made | State::Cr | State::Dot | State::DotCr => false,
        }
    }

    fn is_special(&self, octet: u8) -> bool {
        match octet {
            b'\r' | b'\n' => true,
            b'.' => self.state != State::Middle,
            _ => false,
        }
    }

    /// One octet that cannot simply be passed on.
    fn special(&mut self, octet: u8, out: &mut impl FnMut(&[u8])) -> Step {
        match (self.state, octet) {
            (State::LineStart, b'.') => self.state = State::Dot,
            (State::LineStart | State::Middle | State::Made, b'\r') => self.state = State::Cr,
            (State::LineStart | State::Middle | State::Made, b'\n') => {
                self.lone(Violation::LineFeed, out);
            }
            (State::Made, _) => {
                self.give(b"..", out);
                self.state = State::Middle;
            }
            (State::Cr, b'\n') => {
                self.give(CRLF, out);
                self.state = State::LineStart;
            }
            // The dot was stuffing, as the line went on: to keep it would make a final dot of it.
            (State::Dot, b'\n') => self.lone(Violation::LineFeed, out),
            (State::Dot, b'\r') => self.state = State::DotCr,
            (State::DotCr, b'\n') => {
                self.state = State::LineStart;
                return Step::End;
            }
            (State::Cr | State::DotCr, _) => {
                self.lone(Violation::CarriageReturn, out);
                return Step::Again;
            }
            (State::Dot, _) => {
                self.give(b".", out);
                self.state = State::Middle;
                return Step::Again;
            }
            (State::LineStart | State::Middle, _) => {
                self.give(&[octet], out);
                self.state = State::Middle;
            }
        }
        Step::Taken
    }

    fn lone(&mut self, what: Violation, out: &mut impl FnMut(&[u8])) {
        if self.policy == BareLineEnds::Reject {
            self.violation.get_or_insert(what);
        }
        self.give(CRLF, out);
        self.state = State::Made;
    }

    fn give(&mut self, piece: &[u8], out: &mut impl FnMut(&[u8])) {
        if self.violation.is_none() && !piece.is_empty() {
            self.stored += piece.len() as u64;
            out(piece);
        }
    }
}

/// Makes a stored message safe to send: files taken over from Haraka may hold lone CR and LF, and
/// behind them what another server would take for the end and for commands (PB-01).
///
/// A message that [`DataScanner`] has stored passes unchanged, in whole pieces.
#[derive(Debug)]
pub struct Resend(DataScanner);

impl Resend {
    /// At the beginning of a message.
    #[must_use]
    pub fn new() -> Self {
        Self(DataScanner::new(BareLineEnds::Convert))
    }

    /// Takes a piece of the stored wire form. A line of one dot is text here.
    pub fn push(&mut self, stored: &[u8], out: &mut impl FnMut(&[u8])) {
        let mut rest = stored;
        loop {
            let scan = self.0.scan(rest, out);
            if !scan.done {
                return;
            }
            out(b"..\r\n");
            rest = between(rest, scan.consumed, rest.len());
        }
    }

    /// Completes the last line, so that the final dot stands on its own.
    pub fn finish(self, out: &mut impl FnMut(&[u8])) {
        match self.0.state {
            State::LineStart | State::Made => {}
            State::Middle | State::Cr => out(CRLF),
            State::Dot | State::DotCr => out(b"..\r\n"),
        }
    }
}

impl Default for Resend {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether these octets are a whole message in the form that is stored: only CRLF as line end, one
/// at the end, and no line of one dot.
#[must_use]
pub fn is_wire_form(message: &[u8]) -> bool {
    message.is_empty()
        || (message.ends_with(CRLF)
            && is_clean(0, message)
            && !message.starts_with(b".\r\n")
            && memmem::find(message, END).is_none())
}

enum Settled {
    At(usize),
    End(usize),
}

enum Step {
    /// The octet is dealt with.
    Taken,
    /// The octet is to be looked at in the new state.
    Again,
    /// The message is complete.
    End,
}

/// Whether every LF has its CR and, up to the last octet, every CR its LF. Written so that the
/// compiler makes vector code of it; this is the one look that every octet of a message gets.
pub(super) fn is_clean(previous: u8, block: &[u8]) -> bool {
    let Some((first, rest)) = block.split_first() else {
        return true;
    };
    let mut wrong = (previous == b'\r') != (*first == b'\n');
    for (before, octet) in block.iter().zip(rest) {
        wrong |= (*before == b'\r') != (*octet == b'\n');
    }
    !wrong
}

fn between(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    bytes.get(start..end).unwrap_or_default()
}

const CRLF: &[u8] = b"\r\n";
const END: &[u8] = b"\r\n.\r\n";
/// Octets that are judged as one: long enough for vector code, short enough that one lone LF does
/// not send much more than itself through the octet-wise path.
const BLOCK: usize = 512;

#[cfg(test)]
mod tests;
