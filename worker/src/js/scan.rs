//! The tokens of JavaScript, as far as it takes to know code from strings, templates, comments and
//! regular expressions: where in a script's code a parenthesis opens.
//!
//! Whether a slash divides or begins an expression depends on what stands before it (ECMA-262, section
//! 12.1), so the scanner keeps the brackets that are open and what each was opened for. It must not fail:
//! of a text that is no script it tells something.

use std::ops::ControlFlow;

/// Brackets within each other that are followed; of what is deeper nothing is told.
const DEEPEST: usize = 4096;

/// What may stand next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A statement: `{` is a block, `/` an expression.
    Statement,
    /// A value: `{` is an object, `/` an expression.
    Value,
    /// What follows a value: `/` divides.
    Operator,
    /// The body of a function, and what stands behind it.
    Body { of_value: bool },
}

/// What a bracket was opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `(` of a call or around a value, and `[`.
    Values,
    /// `(` of `if`, `for`, `while` and `with`.
    Condition,
    /// `(` of `function`, which is a value or a statement.
    Parameters { of_value: bool },
    /// `{` around statements, and what may stand behind its end.
    Block(Next),
    /// `{` of an object.
    Object,
    /// `{` of a class, which is a value or a statement.
    Class { is_value: bool },
    /// `${` in a template.
    Template,
}

/// A bracket that is open.
struct Open {
    kind: Kind,
    /// Questions in it whose colon has not come.
    questions: u32,
    /// A `class` in it whose body has not come; whether it is a value.
    class: Option<bool>,
}

/// The word before, where it matters what follows it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// One of `if`, `for`, `while`, `with`.
    Condition,
    Export,
    ExportDefault,
    Other,
}

/// Finds the parentheses that open in code.
pub(super) struct Parentheses<'a> {
    text: &'a str,
    at: usize,
    next: Next,
    word: Word,
    open: Vec<Open>,
    /// A `function` whose parameters have not come; whether it is a value.
    function: Option<bool>,
}

impl Iterator for Parentheses<'_> {
    type Item = usize;

    /// The place of the next one.
    fn next(&mut self) -> Option<usize> {
        loop {
            if let ControlFlow::Break(found) = self.token()? {
                return Some(found);
            }
        }
    }
}

impl<'a> Parentheses<'a> {
    /// Of a script or module.
    pub(super) fn of(text: &'a str) -> Parentheses<'a> {
        let whole = Open {
            kind: Kind::Block(Next::Statement),
            questions: 0,
            class: None,
        };
        Parentheses {
            text,
            at: 0,
            next: Next::Statement,
            word: Word::Other,
            open: vec![whole],
            function: None,
        }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes one token; nothing at the end.
    fn token(&mut self) -> Option<ControlFlow<usize>> {
        let here = self.at;
        let byte = self.byte(0)?;
        self.at += 1;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => return Some(ControlFlow::Continue(())),
            b'\'' | b'"' => self.string(byte),
            b'`' => self.template(),
            b'/' if self.comment() => return Some(ControlFlow::Continue(())),
            b'/' => self.slash(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | b'\\' | b'#' | 0x80.. => {
                self.at = here;
                self.word();
                return Some(ControlFlow::Continue(()));
            }
            b'0'..=b'9' => self.number(),
            b'.' if self.byte(0).is_some_and(|b| b.is_ascii_digit()) => self.number(),
            b'.' => self.dot(),
            b'(' => {
                self.parenthesis();
                self.word = Word::Other;
                return Some(ControlFlow::Break(here));
            }
            b'[' => self.opens(Kind::Values, Next::Value),
            b'{' => self.brace(),
            b')' | b']' | b'}' => self.closes(),
            b'+' | b'-' if self.byte(0) == Some(byte) => {
                self.at += 1;
                // Behind a value it belongs to that, in front of one nothing else may follow.
            }
            b'=' if self.byte(0) == Some(b'>') => {
                self.at += 1;
                self.blanks();
                // No operator follows a function of this kind that has a body.
                self.next = match self.byte(0) {
                    Some(b'{') => Next::Statement,
                    _ => Next::Value,
                };
            }
            b'?' => self.question(),
            b':' => self.colon(),
            b';' => {
                self.next = Next::Statement;
                self.function = None;
                if let Some(open) = self.open.last_mut() {
                    open.questions = 0;
                    open.class = None;
                }
            }
            _ => self.next = Next::Value,
        }
        self.word = Word::Other;
        Some(ControlFlow::Continue(()))
    }

    /// The next octet that is no blank; the end of a line is one.
    fn peek(&self) -> Option<u8> {
        let mut bytes = self.rest().bytes();
        bytes.find(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
    }

    /// To the end of a string; that of a line ends one that is not closed.
    fn string(&mut self, quote: u8) {
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            match byte {
                b'\\' if self.rest().starts_with("\r\n") => self.at += 2,
                b'\\' => self.at += 1,
                b'\n' => break,
                byte if byte == quote => break,
                _ => {}
            }
        }
        self.next = Next::Operator;
    }

    /// To the end of a template, or into the next value in it.
    fn template(&mut self) {
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'$' if self.byte(0) == Some(b'{') => {
                    self.at += 1;
                    self.opens(Kind::Template, Next::Value);
                    return;
                }
                b'`' => break,
                _ => {}
            }
        }
        self.next = Next::Operator;
    }

    /// Passes a comment whose first slash was passed; false if none stands here.
    fn comment(&mut self) -> bool {
        let rest = self.rest();
        let length = match self.byte(0) {
            Some(b'/') => rest.find(is_line_end),
            Some(b'*') => rest.get(1..).and_then(|r| r.find("*/")).map(|at| at + 3),
            _ => return false,
        };
        self.at += length.unwrap_or(rest.len());
        true
    }

    /// An expression or a division.
    fn slash(&mut self) {
        match (self.next, self.expression()) {
            (Next::Statement | Next::Value, Some(length)) => {
                self.at += length;
                self.next = Next::Operator;
            }
            _ => self.next = Next::Value,
        }
    }

    /// The length of the expression that stands here, without its first slash and with its flags; none
    /// if it does not end in this line.
    fn expression(&self) -> Option<usize> {
        let mut in_class = false;
        let mut bytes = self.rest().bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'\n' | b'\r' => return None,
                b'\\' => {
                    let (_, escaped) = bytes.next()?;
                    if matches!(escaped, b'\n' | b'\r') {
                        return None;
                    }
                }
                b'[' => in_class = true,
                b']' => in_class = false,
                b'/' if !in_class => {
                    let flags = bytes.take_while(|(_, b)| b.is_ascii_alphabetic());
                    return Some(at + 1 + flags.count());
                }
                _ => {}
            }
        }
        None
    }

    fn number(&mut self) {
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'.') = self.byte(0) {
            self.at += 1;
        }
        self.next = Next::Operator;
    }

    /// Of a member, whose name is no keyword; or three of them.
    fn dot(&mut self) {
        if self.rest().starts_with("..") {
            self.at += 2;
            self.next = Next::Value;
            return;
        }
        self.blanks();
        if !self.name().is_empty() {
            self.next = Next::Operator;
        }
    }

    /// Passes blanks, ends of lines and comments.
    fn blanks(&mut self) {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(is_blank).len();
            if self.byte(0) != Some(b'/') || !matches!(self.byte(1), Some(b'/' | b'*')) {
                return;
            }
            self.at += 1;
            self.comment();
        }
    }

    /// Passes a name or keyword, which it gives.
    fn name(&mut self) -> &'a str {
        let rest = self.rest();
        let part = |c: char| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '$' | '\\' | '#' => true,
            c => !c.is_ascii() && !is_blank(c),
        };
        let name = rest.split(|c| !part(c)).next().unwrap_or_default();
        self.at += name.len();
        name
    }

    fn word(&mut self) {
        let before = std::mem::replace(&mut self.word, Word::Other);
        let name = self.name();
        if name.is_empty() {
            // A blank beyond ASCII.
            self.word = before;
            self.at += self.rest().chars().next().map_or(1, char::len_utf8);
            return;
        }
        let open = self.open.last();
        let is_key = self.next != Next::Operator
            && self.peek() == Some(b':')
            && open.is_none_or(|o| o.questions == 0);
        if is_key && name != "default" {
            self.next = Next::Operator;
            return;
        }
        match name {
            "function" => {
                let of_value = self.next == Next::Value && before != Word::ExportDefault;
                self.function = Some(of_value);
                self.next = Next::Operator;
            }
            "class" => {
                let is_value = self.next == Next::Value && before != Word::ExportDefault;
                if let Some(open) = self.open.last_mut() {
                    open.class = Some(is_value);
                }
                self.next = Next::Operator;
            }
            // What it makes of a function is told by what stands before it.
            "async" if self.rest().trim_start().starts_with("function") => self.word = before,
            "if" | "for" | "while" | "with" => {
                self.word = Word::Condition;
                self.next = Next::Value;
            }
            "await" => {
                self.word = before;
                self.next = Next::Value;
            }
            "export" => self.word = Word::Export,
            "default" => {
                if before == Word::Export {
                    self.word = Word::ExportDefault;
                }
                self.next = Next::Value;
            }
            "else" | "do" | "try" | "finally" => self.next = Next::Statement,
            "return" | "typeof" | "instanceof" | "in" | "new" | "delete" | "void" | "throw"
            | "case" | "yield" | "extends" => self.next = Next::Value,
            "of" if self.next == Next::Operator => self.next = Next::Value,
            _ => self.next = Next::Operator,
        }
    }

    fn parenthesis(&mut self) {
        let kind = match self.function.take() {
            _ if self.word == Word::Condition => Kind::Condition,
            Some(of_value) => Kind::Parameters { of_value },
            None => Kind::Values,
        };
        self.opens(kind, Next::Value);
    }

    fn brace(&mut self) {
        let open = self.open.last_mut();
        // After `extends` comes a value, which may be an object.
        let class = open.filter(|_| self.next == Next::Operator);
        let class = class.and_then(|open| open.class.take());
        let kind = match (class, self.next) {
            (Some(is_value), _) => Kind::Class { is_value },
            (_, Next::Body { of_value: true }) => Kind::Block(Next::Operator),
            (_, Next::Value) => Kind::Object,
            _ => Kind::Block(Next::Statement),
        };
        let inside = match kind {
            Kind::Object => Next::Value,
            _ => Next::Statement,
        };
        self.opens(kind, inside);
    }

    fn opens(&mut self, kind: Kind, inside: Next) {
        self.next = inside;
        if self.open.len() >= DEEPEST {
            self.at = self.text.len();
            return;
        }
        self.open.push(Open {
            kind,
            questions: 0,
            class: None,
        });
    }

    fn closes(&mut self) {
        self.next = match self.open.pop().map(|open| open.kind) {
            Some(Kind::Values | Kind::Object) => Next::Operator,
            Some(Kind::Condition) => Next::Statement,
            Some(Kind::Parameters { of_value }) => Next::Body { of_value },
            Some(Kind::Block(after)) => after,
            Some(Kind::Class { is_value: true }) => Next::Operator,
            Some(Kind::Class { is_value: false }) => Next::Statement,
            Some(Kind::Template) => return self.template(),
            None => Next::Statement,
        };
    }

    fn question(&mut self) {
        let digit = self.byte(1).is_some_and(|b| b.is_ascii_digit());
        match self.byte(0) {
            Some(b'.') if !digit => {
                self.at += 1;
                self.blanks();
                // A member, a call or an index.
                self.name();
                self.next = Next::Operator;
            }
            Some(b'?') => {
                self.at += 1;
                self.next = Next::Value;
            }
            _ => {
                if let Some(open) = self.open.last_mut() {
                    open.questions += 1;
                }
                self.next = Next::Value;
            }
        }
    }

    /// Of a question, a key, a case or a label.
    fn colon(&mut self) {
        self.next = match self.open.last_mut() {
            Some(open) if open.questions > 0 => {
                open.questions -= 1;
                Next::Value
            }
            Some(Open {
                kind: Kind::Block(_),
                ..
            }) => Next::Statement,
            _ => Next::Value,
        };
    }
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}
