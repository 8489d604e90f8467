//! One mail transaction with a remote host as a pure state: which commands go out together, and
//! what each reply means for each recipient.
//!
//! With PIPELINING the commands of a transaction share a packet (RFC 2920), without it they go one
//! by one; both ways are one code path with another group size. Must never touch a socket.

use std::collections::VecDeque;
use std::rc::Rc;

use haraka_shared::address::Address;
use haraka_shared::dsn::Requests;
use haraka_shared::reply::{Enhanced, Reply};

use super::attempt::{Attempt, Cause, Peer, RcptResult, Stage};
use super::extensions::Extensions;
use super::message::Envelope;

/// The results of all recipients of an envelope, as far as they are known.
pub(super) struct Book {
    results: Vec<Option<RcptResult>>,
    host: Rc<str>,
    pub(super) in_doubt: bool,
}

impl Book {
    pub(super) fn new(recipients: usize, host: Rc<str>) -> Book {
        Book {
            results: vec![None; recipients],
            host,
            in_doubt: false,
        }
    }

    /// Recipients without a result.
    pub(super) fn open(&self) -> Vec<usize> {
        self.results
            .iter()
            .enumerate()
            .filter(|(_, r)| r.is_none())
            .map(|(i, _)| i)
            .collect()
    }

    pub(super) fn any_delivered(&self) -> bool {
        self.results
            .iter()
            .any(|r| matches!(r, Some(RcptResult::Delivered(_))))
    }

    pub(super) fn set(&mut self, recipient: usize, result: RcptResult) {
        if let Some(slot) = self.results.get_mut(recipient) {
            slot.get_or_insert(result);
        }
    }

    /// Takes a reply about the whole message as the last word on a recipient.
    pub(super) fn settle(&mut self, recipient: usize, reply: Reply) {
        self.close(recipient, reply, false);
    }

    /// Takes a reply about this recipient alone as the last word on it.
    pub(super) fn settle_one(&mut self, recipient: usize, reply: Reply) {
        self.close(recipient, reply, true);
    }

    fn close(&mut self, recipient: usize, reply: Reply, of_one: bool) {
        let cause = |reply| Cause {
            of_one,
            ..Cause::from_reply(reply, &self.host)
        };
        let result = if reply.is_success() {
            RcptResult::Delivered(reply)
        } else if reply.is_permanent() {
            RcptResult::Failed(cause(reply))
        } else {
            RcptResult::Deferred(cause(reply))
        };
        self.set(recipient, result);
    }

    /// Puts every recipient off that has no result.
    pub(super) fn defer_open(&mut self, cause: &Cause) {
        for slot in self.results.iter_mut().filter(|slot| slot.is_none()) {
            *slot = Some(RcptResult::Deferred(cause.clone()));
        }
    }

    /// Refuses every recipient that has no result.
    pub(super) fn fail_open(&mut self, cause: &Cause) {
        for slot in self.results.iter_mut().filter(|slot| slot.is_none()) {
            *slot = Some(RcptResult::Failed(cause.clone()));
        }
    }

    pub(super) fn finish(self, peer: Peer) -> Attempt {
        let lost = || RcptResult::Deferred(Cause::temporary(5, 0, "no reply about this recipient"));
        Attempt {
            results: self
                .results
                .into_iter()
                .map(|r| r.unwrap_or_else(lost))
                .collect(),
            peer: Some(peer),
            in_doubt: self.in_doubt,
        }
    }
}

/// A command whose reply is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
}

impl Sent {
    pub(super) fn stage(self) -> Stage {
        match self {
            Sent::Reset | Sent::Mail => Stage::Mail,
            Sent::Rcpt(_) => Stage::Rcpt,
            Sent::Data => Stage::Data,
        }
    }
}

/// What comes next in the transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Reset,
    Mail,
    Rcpt,
    Data,
    Over,
}

/// What to do once no command is left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GoAhead {
    /// Send the message for these recipients, and read the replies to the final dot.
    Message(Vec<usize>),
    /// The host waits for a message that nobody will get: send only the final dot.
    LoneDot,
    /// The transaction is over.
    Nothing,
    /// 421 or a failed RSET before the sender was accepted: nothing is decided here.
    Unavailable(Reply),
    /// A reply that makes no sense.
    Nonsense(Stage, Reply),
}

/// What MAIL says of the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// For SIZE.
    pub(super) octets: u64,
    /// For BODY.
    pub(super) eight_bit: bool,
    /// For SMTPUTF8.
    pub(super) utf8_header: bool,
}

/// One transaction.
pub(super) struct Exchange<'a> {
    envelope: &'a Envelope<'a>,
    message: Facts,
    extensions: &'a Extensions,
    utf8: bool,
    open: Vec<usize>,
    next: usize,
    step: Step,
    waiting: VecDeque<Sent>,
    sender_ok: bool,
    accepted: Vec<usize>,
    /// The host takes no more recipients in this transaction.
    full: bool,
    verdict: GoAhead,
    /// The host holds a transaction that needs RSET before another one.
    pub(super) dirty: bool,
    /// 421 was said.
    pub(super) gone: bool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        envelope: &'a Envelope<'a>,
        message: Facts,
        extensions: &'a Extensions,
        open: Vec<usize>,
        dirty: bool,
    ) -> Exchange<'a> {
        let foreign = |i: &usize| envelope.recipients.get(*i).is_some_and(|a| !is_ascii(a));
        let needed = message.utf8_header || !is_ascii(envelope.sender) || open.iter().any(foreign);
        Exchange {
            envelope,
            message,
            extensions,
            utf8: extensions.smtp_utf8 && needed,
            open,
            next: 0,
            step: if dirty { Step::Reset } else { Step::Mail },
            waiting: VecDeque::new(),
            sender_ok: false,
            accepted: Vec::new(),
            full: false,
            verdict: GoAhead::Nothing,
            dirty,
            gone: false,
        }
    }

    /// Appends the next command lines; false if there are none.
    pub(super) fn gather(&mut self, lines: &mut Vec<u8>) -> bool {
        while self.waiting.is_empty() || (self.extensions.pipelining && lines.len() < GROUP) {
            match self.step {
                Step::Reset => {
                    self.say(lines, Sent::Reset, b"RSET");
                    self.step = Step::Mail;
                }
                Step::Mail => {
                    let line = self.mail_line();
                    self.say(lines, Sent::Mail, line.as_bytes());
                    self.step = Step::Rcpt;
                }
                Step::Rcpt => match self.open.get(self.next) {
                    Some(&i) if !self.full => {
                        let to = self
                            .envelope
                            .recipients
                            .get(i)
                            .map(|a| a.format(!self.utf8));
                        let mut line = format!("RCPT TO:{}", to.unwrap_or_default());
                        if let Some(requests) = self.requests() {
                            line.push_str(&requests.of(i, self.utf8));
                        }
                        self.say(lines, Sent::Rcpt(i), line.as_bytes());
                        self.next += 1;
                    }
                    _ => self.step = Step::Data,
                },
                Step::Data => {
                    self.step = Step::Over;
                    if self.envelope.all_or_none && !self.waiting.is_empty() {
                        // The last replies decide whether there is a DATA.
                        self.step = Step::Data;
                        break;
                    }
                    let hoping = self.waiting.iter().any(|s| matches!(s, Sent::Rcpt(_)));
                    if hoping || !self.accepted.is_empty() {
                        self.say(lines, Sent::Data, b"DATA");
                    }
                }
                Step::Over => break,
            }
        }
        !self.waiting.is_empty()
    }

    fn say(&mut self, lines: &mut Vec<u8>, what: Sent, line: &[u8]) {
        lines.extend_from_slice(line);
        lines.extend_from_slice(b"\r\n");
        self.waiting.push_back(what);
    }

    fn mail_line(&self) -> String {
        let mut line = format!("MAIL FROM:{}", self.envelope.sender.format(!self.utf8));
        if self.extensions.size.is_some() {
            line.push_str(&format!(" SIZE={}", self.message.octets));
        }
        if self.extensions.eight_bit_mime && self.message.eight_bit {
            line.push_str(" BODY=8BITMIME");
        }
        if self.utf8 {
            line.push_str(" SMTPUTF8");
        }
        if let Some(requests) = self.requests() {
            line.push_str(&requests.message.params());
        }
        line
    }

    /// What the sender asked for, if the host can be asked for it.
    fn requests(&self) -> Option<Requests<'a>> {
        self.envelope.requests.filter(|_| self.extensions.dsn)
    }

    /// The command whose reply is due next.
    pub(super) fn due(&self) -> Option<Sent> {
        self.waiting.front().copied()
    }

    /// Takes the reply to the command that was [`due`](Exchange::due).
    pub(super) fn take(&mut self, reply: Reply, book: &mut Book) {
        let Some(what) = self.waiting.pop_front() else {
            return;
        };
        let closing = reply.code() == 421;
        match what {
            Sent::Reset if reply.is_success() => self.dirty = false,
            Sent::Reset => return self.unavailable(reply),
            Sent::Mail if reply.is_success() => (self.sender_ok, self.dirty) = (true, true),
            Sent::Mail if closing => return self.unavailable(reply),
            Sent::Mail => {
                self.step = Step::Over;
                for &i in &self.open {
                    book.settle(i, not_yet(reply.clone()));
                }
            }
            // Only an echo of what ended the transaction.
            Sent::Rcpt(_) if !self.sender_ok => {}
            Sent::Rcpt(_) if self.envelope.all_or_none && !reply.is_success() => {
                self.step = Step::Over;
                self.sender_ok = false;
                self.accepted.clear();
                for &i in &self.open {
                    book.settle(i, not_yet(reply.clone()));
                }
            }
            Sent::Rcpt(i) => self.take_rcpt(i, &reply, book),
            Sent::Data => self.take_data(&reply, book),
        }
        if closing {
            self.gone = true;
            self.step = Step::Over;
            self.waiting.clear();
            self.verdict = GoAhead::Nothing;
            book.defer_open(&Cause::from_reply(reply, &book.host.clone()));
        }
    }

    fn unavailable(&mut self, reply: Reply) {
        self.gone = true;
        self.step = Step::Over;
        self.waiting.clear();
        self.verdict = GoAhead::Unavailable(reply);
    }

    fn take_rcpt(&mut self, recipient: usize, reply: &Reply, book: &mut Book) {
        match word_on_rcpt(reply, !self.accepted.is_empty()) {
            RcptWord::Accepted => self.accepted.push(recipient),
            // Stays open, for another transaction.
            RcptWord::Full => self.full = true,
            RcptWord::Settled => book.settle_one(recipient, not_yet(reply.clone())),
            RcptWord::Later => {
                let mut cause = Cause::from_reply(reply.clone(), &book.host).of_one();
                cause.status = TOO_MANY.unwrap_or(cause.status);
                book.set(recipient, RcptResult::Deferred(cause));
            }
        }
    }

    fn take_data(&mut self, reply: &Reply, book: &mut Book) {
        if reply.is_intermediate() {
            self.verdict = if self.accepted.is_empty() {
                GoAhead::LoneDot
            } else {
                GoAhead::Message(std::mem::take(&mut self.accepted))
            };
        } else if reply.is_success() {
            self.verdict = GoAhead::Nonsense(Stage::Data, reply.clone());
        } else {
            for &i in &self.accepted {
                book.settle(i, reply.clone());
            }
        }
    }

    /// What follows after the last reply.
    pub(super) fn verdict(self) -> GoAhead {
        self.verdict
    }
}

/// A reply that must not count as delivered: 2xx and 3xx where neither can be the last word.
fn not_yet(reply: Reply) -> Reply {
    if reply.is_transient() || reply.is_permanent() {
        return reply;
    }
    Reply::new(451, format!("unexpected reply {reply}"))
}

/// What a reply to RCPT means.
#[derive(Debug, PartialEq, Eq)]
enum RcptWord {
    Accepted,
    /// This recipient has its result.
    Settled,
    /// No more in this transaction; another one can follow at once.
    Full,
    /// No more, though none was accepted: another time.
    Later,
}

/// RFC 5321 §4.5.3.1.10: 452, and 552 from older hosts, say that there are too many recipients.
/// Both also mean a full mailbox, which an enhanced code or the lack of earlier ones tells apart.
fn word_on_rcpt(reply: &Reply, some_accepted: bool) -> RcptWord {
    if reply.is_success() {
        return RcptWord::Accepted;
    }
    let too_many = match (reply.code(), reply.enhanced()) {
        (452 | 552, Some(e)) => e.detail() == 3 && matches!(e.subject(), 3 | 5),
        (452 | 552, None) => some_accepted,
        _ => false,
    };
    match (too_many, some_accepted) {
        (true, true) => RcptWord::Full,
        (true, false) => RcptWord::Later,
        (false, _) => RcptWord::Settled,
    }
}

/// Whether an address can be written without SMTPUTF8, at most with its domain in punycode.
pub(super) fn has_ascii_form(address: &Address) -> bool {
    address.user().is_ascii()
}

fn is_ascii(address: &Address) -> bool {
    address.user().is_ascii() && address.original_host().unwrap_or_default().is_ascii()
}

/// Octets of commands sent before their replies are read. A host that writes replies while we
/// write commands fills its send buffer; with this many commands it never does (RFC 2920 §3.1).
const GROUP: usize = 8 * 1024;
const TOO_MANY: Option<Enhanced> = Enhanced::new(4, 5, 3);
