//! Descent over RFC 5322 §3.4 with the obsolete forms of §4.4; as deep as the grammar, not the input.

use super::{AddressHeaderError, Group, HeaderAddress, Mailbox, Options, StartAt};
use crate::address::{Limits, ascii_host, is_literal_body};

type Parsed<T> = Result<T, AddressHeaderError>;

/// Comments on the way, for the mailbox that they belong to.
type Comments = Vec<String>;

/// `at` always is a character boundary.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    options: Options,
    group_ahead: Lookahead,
    angle_ahead: Lookahead,
}

/// What a look ahead found, and up to where it went: a later one that starts before there would find
/// the same, so no character is passed twice.
#[derive(Clone, Copy, Default)]
struct Lookahead {
    until: usize,
    found: bool,
}

struct Spec {
    user: String,
    host: String,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, options: Options) -> Self {
        Self {
            text,
            at: 0,
            options,
            group_ahead: Lookahead::default(),
            angle_ahead: Lookahead::default(),
        }
    }

    pub(super) fn parse(mut self) -> Parsed<Vec<HeaderAddress>> {
        let name = match self.options.start_at {
            StartAt::AddressList => "address-list",
            StartAt::MailboxList => "mailbox-list",
            StartAt::From => "from",
            StartAt::ReplyTo => "reply-to",
            StartAt::Sender => "sender",
            StartAt::Address => "address",
            StartAt::Mailbox => "mailbox",
            StartAt::Group => "group",
            StartAt::AngleAddr => "angle-addr",
        };
        let found = match self.options.start_at {
            StartAt::AddressList | StartAt::MailboxList | StartAt::From | StartAt::ReplyTo => {
                self.address_list()?
            }
            StartAt::Address => vec![self.address()?],
            StartAt::Mailbox | StartAt::Sender => vec![HeaderAddress::Mailbox(self.mailbox()?)],
            StartAt::Group => vec![HeaderAddress::Group(self.group()?)],
            StartAt::AngleAddr => {
                let spec = self.angle_addr(&mut Vec::new())?;
                vec![HeaderAddress::Mailbox(mailbox(spec, String::new(), &[])?)]
            }
        };
        self.blanks()?;
        if self.at < self.text.len() {
            return self.fail(format!("trailing input after {name}"));
        }
        if found.is_empty() {
            return Err(AddressHeaderError::NoResults);
        }
        Ok(found)
    }

    fn address_list(&mut self) -> Parsed<Vec<HeaderAddress>> {
        let mut found = Vec::new();
        if self.options.postel {
            self.null_entries()?;
        }
        while self.at < self.text.len() {
            found.push(self.address()?);
            self.blanks()?;
            if !self.eat(',') {
                break;
            }
            if self.options.postel {
                self.null_entries()?;
            }
        }
        Ok(found)
    }

    fn address(&mut self) -> Parsed<HeaderAddress> {
        self.group_ahead = self.ahead(self.group_ahead, |c| match c {
            ':' => Some(true),
            '<' | '@' | ',' | ';' => Some(false),
            _ => None,
        });
        if self.group_ahead.found {
            self.group().map(HeaderAddress::Group)
        } else {
            self.mailbox().map(HeaderAddress::Mailbox)
        }
    }

    fn group(&mut self) -> Parsed<Group> {
        let phrase = self.phrase(&mut Vec::new())?;
        refuse_control("phrase", &phrase)?;
        self.blanks()?;
        self.expect(':')?;
        self.list_gap()?;
        let mut addresses = Vec::new();
        if self.peek() != Some(';') {
            addresses.push(self.mailbox()?);
            loop {
                self.blanks()?;
                if !self.eat(',') {
                    break;
                }
                self.list_gap()?;
                if matches!(self.peek(), None | Some(';')) {
                    break;
                }
                addresses.push(self.mailbox()?);
            }
        }
        self.blanks()?;
        self.expect(';')?;
        self.blanks()?;
        Ok(Group { phrase, addresses })
    }

    fn list_gap(&mut self) -> Parsed<()> {
        if self.options.postel {
            self.null_entries()
        } else {
            self.blanks()
        }
    }

    // RFC 5322 §4.4 obs-mbox-list
    fn null_entries(&mut self) -> Parsed<()> {
        loop {
            self.blanks()?;
            if !self.eat(',') {
                return Ok(());
            }
        }
    }

    fn mailbox(&mut self) -> Parsed<Mailbox> {
        let mut comments = Vec::new();
        self.comments(&mut comments)?;
        let comma = self.options.comma_in_name;
        self.angle_ahead = self.ahead(self.angle_ahead, |c| match c {
            '<' => Some(true),
            ';' | ':' => Some(false),
            ',' if !comma => Some(false),
            _ => None,
        });
        let start = self.at;
        if self.angle_ahead.found {
            let mut phrase = String::new();
            if self.peek() != Some('<') {
                phrase = self.phrase(&mut comments)?;
            }
            self.comments(&mut comments)?;
            if self.peek() == Some('<') {
                let spec = self.angle_addr(&mut comments)?;
                self.comments(&mut comments)?;
                return mailbox(spec, phrase, &comments);
            }
            self.at = start;
            comments.clear();
        }
        let spec = self.addr_spec(&mut comments)?;
        self.comments(&mut comments)?;
        mailbox(spec, String::new(), &comments)
    }

    /// Looks for the first character outside of quotes and comments that decides; false at the end.
    fn ahead(&self, known: Lookahead, decides: impl Fn(char) -> Option<bool>) -> Lookahead {
        if self.at < known.until {
            return known;
        }
        let mut depth = 0_i64;
        let mut quoted = false;
        let mut chars = self.rest().char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '\\' if quoted || depth > 0 => {
                    chars.next();
                }
                '"' if depth <= 0 => quoted = !quoted,
                _ if quoted => {}
                '(' => depth += 1,
                ')' => depth -= 1,
                _ if depth > 0 => {}
                c => {
                    if let Some(found) = decides(c) {
                        let until = self.at + offset + 1;
                        return Lookahead { until, found };
                    }
                }
            }
        }
        Lookahead {
            until: self.text.len(),
            found: false,
        }
    }

    fn angle_addr(&mut self, comments: &mut Comments) -> Parsed<Spec> {
        self.comments(comments)?;
        self.expect('<')?;
        self.comments(comments)?;
        if self.peek() == Some('@') {
            // RFC 5322 §4.4 obs-route: to be ignored
            while self.eat('@') {
                self.domain(comments)?;
                self.comments(comments)?;
                if !self.eat(',') {
                    break;
                }
                self.comments(comments)?;
            }
            self.comments(comments)?;
            self.expect(':')?;
            self.comments(comments)?;
        }
        let spec = self.addr_spec(comments)?;
        self.comments(comments)?;
        self.expect('>')?;
        Ok(spec)
    }

    fn addr_spec(&mut self, comments: &mut Comments) -> Parsed<Spec> {
        let user = self.local_part(comments)?;
        self.comments(comments)?;
        self.expect('@')?;
        self.comments(comments)?;
        let host = self.domain(comments)?;
        Ok(Spec { user, host })
    }

    fn local_part(&mut self, comments: &mut Comments) -> Parsed<String> {
        self.comments(comments)?;
        let quoted = self.peek() == Some('"');
        let mut user = self.word()?;
        if quoted && !self.options.postel {
            return Ok(user);
        }
        while self.dot(comments)? {
            self.comments(comments)?;
            user.push('.');
            if self.options.postel {
                user += &self.word()?;
            } else {
                let atom = self.take_while(is_atext);
                if atom.is_empty() {
                    return self.fail("expected atom after \".\"");
                }
                user += atom;
            }
        }
        Ok(user)
    }

    /// A dot, with comments before it; without a dot nothing is taken.
    fn dot(&mut self, comments: &mut Comments) -> Parsed<bool> {
        let (start, known) = (self.at, comments.len());
        self.comments(comments)?;
        let found = self.eat('.');
        if !found {
            self.at = start;
            comments.truncate(known);
        }
        Ok(found)
    }

    /// An atom, or a quoted string with its quotes.
    fn word(&mut self) -> Parsed<String> {
        if self.peek() == Some('"') {
            let start = self.at;
            self.quoted()?;
            return Ok(self.since(start).to_owned());
        }
        let atom = self.take_while(is_atext);
        if atom.is_empty() {
            return self.fail("expected local-part atom");
        }
        Ok(atom.to_owned())
    }

    fn domain(&mut self, comments: &mut Comments) -> Parsed<String> {
        self.comments(comments)?;
        if self.peek() == Some('[') {
            return self.literal();
        }
        let mut domain = String::new();
        loop {
            let label = self.label();
            if label.is_empty() {
                if domain.is_empty() {
                    return self.fail("expected domain label");
                }
                return Ok(domain);
            }
            // RFC 1035 §2.3.4
            if label.len() > 63 {
                return self.fail("sub-domain label exceeds 63 octets");
            }
            domain += label;
            if !self.dot(comments)? {
                return Ok(domain);
            }
            domain.push('.');
            self.comments(comments)?;
        }
    }

    /// As in an envelope, and with underscores but for the first character.
    fn label(&mut self) -> &'a str {
        let start = self.at;
        if matches!(self.peek(), Some('-' | '_')) {
            return "";
        }
        let run =
            self.take_while(|c| c.is_ascii_alphanumeric() || !c.is_ascii() || "-_".contains(c));
        let label = run.trim_end_matches('-');
        self.at = start + label.len();
        label
    }

    fn literal(&mut self) -> Parsed<String> {
        let start = self.at;
        self.expect('[')?;
        let body = self.take_while(|c| matches!(c, '\x21'..='\x5a' | '\x5e'..='\x7e'));
        match self.peek() {
            Some(']') => self.at += 1,
            None => return self.fail("unterminated address literal"),
            Some(_) => return self.fail("invalid character in address literal"),
        }
        let postel = self.options.postel;
        if is_literal_body(body, Limits { postel }) {
            return Ok(self.since(start).to_owned());
        }
        self.at = start;
        self.fail("invalid address literal")
    }

    /// Words and dots, joined by single blanks; a dot keeps to the word before and after it.
    fn phrase(&mut self, comments: &mut Comments) -> Parsed<String> {
        let mut phrase = String::new();
        let mut words = 0_usize;
        let mut after_word = false;
        loop {
            self.comments(comments)?;
            let word = match self.peek() {
                Some('"') => self.quoted()?,
                Some('.') if after_word => {
                    self.at += 1;
                    phrase.truncate(phrase.strip_suffix(' ').unwrap_or(&phrase).len());
                    phrase.push('.');
                    after_word = false;
                    continue;
                }
                Some(c) if self.in_name(c) => {
                    let options = self.options;
                    self.take_while(|c| in_name(options, c)).to_owned()
                }
                _ => break,
            };
            if !phrase.is_empty() && !phrase.ends_with('.') {
                phrase.push(' ');
            }
            phrase += &word;
            words += 1;
            after_word = true;
        }
        if words == 0 {
            return self.fail("expected phrase");
        }
        Ok(phrase)
    }

    fn in_name(&self, c: char) -> bool {
        in_name(self.options, c)
    }

    /// The content of a quoted string, without escapes and with runs of blanks as one.
    fn quoted(&mut self) -> Parsed<String> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return self.fail("unterminated quoted-string"),
                Some('"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') => {
                    self.at += 1;
                    let Some(c) = self.peek() else {
                        return self.fail("quoted-pair at end of input");
                    };
                    self.at += c.len_utf8();
                    text.push(c);
                }
                Some(c) if is_blank(c) => {
                    self.take_while(is_blank);
                    if !text.is_empty() && !text.ends_with(' ') {
                        text.push(' ');
                    }
                }
                Some(_) => {
                    // blanks inside of a run stay as they are
                    let run = self.take_while(|c| {
                        matches!(c, ' ' | '!' | '#'..='[' | ']'..='~') || !c.is_ascii()
                    });
                    if run.is_empty() {
                        return self.fail("invalid character in quoted-string");
                    }
                    text += run;
                }
            }
        }
    }

    fn blanks(&mut self) -> Parsed<()> {
        self.comments(&mut Vec::new())
    }

    /// Takes blanks and comments.
    fn comments(&mut self, comments: &mut Comments) -> Parsed<()> {
        loop {
            self.take_while(is_blank);
            if self.peek() != Some('(') {
                return Ok(());
            }
            let comment = self.comment()?;
            if !comment.is_empty() {
                comments.push(comment.to_owned());
            }
        }
    }

    fn comment(&mut self) -> Parsed<&'a str> {
        self.expect('(')?;
        let start = self.at;
        let mut depth = 1_u64;
        let mut chars = self.rest().char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '\\' => {
                    chars.next();
                }
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let body = self.rest().get(..offset).unwrap_or_default();
                self.at = start + offset + 1;
                if body.contains(|c: char| c.is_ascii_control()) {
                    return self.fail("control character in comment");
                }
                return Ok(body.trim());
            }
        }
        self.at = self.text.len();
        self.fail("unterminated comment")
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Parsed<()> {
        if self.eat(wanted) {
            Ok(())
        } else {
            self.fail(format!("expected \"{wanted}\""))
        }
    }

    fn take_while(&mut self, admits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !admits(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn fail<T>(&self, what: impl Into<String>) -> Parsed<T> {
        let before = self.text.get(..self.at).unwrap_or_default();
        Err(AddressHeaderError::Syntax {
            position: before.encode_utf16().count(),
            what: what.into(),
        })
    }
}

/// A quoted pair may bring any character, but this text may be written to a field again.
fn refuse_control(name: &'static str, text: &str) -> Parsed<()> {
    if text.contains(|c: char| c.is_ascii_control()) {
        return Err(AddressHeaderError::ControlCharacter(name));
    }
    Ok(())
}

fn mailbox(spec: Spec, phrase: String, comments: &[String]) -> Parsed<Mailbox> {
    let comment = comments.join(" ").trim().to_owned();
    let fields = [
        ("user", &spec.user),
        ("host", &spec.host),
        ("phrase", &phrase),
        ("comment", &comment),
    ];
    for (name, text) in fields {
        refuse_control(name, text)?;
    }
    Ok(Mailbox {
        user: spec.user,
        host: ascii_host(&spec.host)?.into_owned(),
        original_host: spec.host,
        phrase,
        comment,
    })
}

fn in_name(options: Options, c: char) -> bool {
    is_atext(c) || (options.at_in_name && c == '@') || (options.comma_in_name && c == ',')
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}
