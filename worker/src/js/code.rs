//! From the text of a script to a function: compiled here, taken in compiled form, or recorded.
//!
//! The raw calls of the engine that this takes are here alone. Functions in compiled form do not hold
//! their text, which is most of what a script takes in memory: a mark stands in its place that leads to
//! the memory file, and `globals.js` follows it for `toString`. Lines and columns stay with the code.

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use rquickjs::{Ctx, Error, FromJs as _, Function, Value, qjs};

use super::compiled::{Compiled, Identity, Key, Recorder};

/// Where scripts get their code from.
#[derive(Clone, Default)]
pub(crate) enum Origin {
    /// Their text.
    #[default]
    Text,
    /// Their text; what comes of it is taken down.
    Recorded(Rc<Recorder>),
    /// What was compiled before, and their text where that does not have them.
    Compiled(Arc<Compiled>),
}

/// Gives functions for scripts.
#[derive(Default)]
pub(super) struct Code {
    origin: Origin,
    /// How many were ready, and how many were compiled here.
    taken: Cell<u32>,
    made: Cell<u32>,
    /// The script whose text was asked for last, by its number: who asks for one function asks for more.
    shown: RefCell<(Option<usize>, String)>,
}

/// In front of what stands for the text of a function. No function begins with it.
const MARK: char = '\u{1}';

/// Version and checksum, in front of all compiled code.
const HEADER: usize = 5;

impl Code {
    pub(super) fn new(origin: Origin) -> Code {
        Code {
            origin,
            ..Code::default()
        }
    }

    /// How many scripts were compiled before, and how many here.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.taken.get(), self.made.get())
    }

    /// A script whose value is a function. `text` is asked for where there is no code; errors show the
    /// file of the key.
    pub(super) fn function<'js>(
        &self,
        ctx: &Ctx<'js>,
        key: Key<'_>,
        text: impl FnOnce() -> String,
    ) -> rquickjs::Result<Function<'js>> {
        match self.known(ctx, key, None) {
            Some(known) => run(ctx, known),
            None => self.compiled(ctx, key, None, text()),
        }
    }

    /// As [`Code::function`], of a file; `text` makes what is compiled of what is in it.
    ///
    /// # Errors
    /// What the engine says of the text; the outer ones are those of reading it.
    pub(super) fn of_file<'js>(
        &self,
        ctx: &Ctx<'js>,
        key: Key<'_>,
        text: impl FnOnce(Vec<u8>) -> String,
    ) -> io::Result<rquickjs::Result<Function<'js>>> {
        if let Origin::Compiled(_) = self.origin
            && let Some(known) = self.known(ctx, key, identity(key.0).as_ref())
        {
            return Ok(run(ctx, known));
        }
        let mut file = std::fs::File::open(key.0)?;
        // Before it is read: what changes meanwhile is another file.
        let identity = Identity::of(&file.metadata()?);
        let mut octets = Vec::new();
        file.read_to_end(&mut octets)?;
        Ok(self.compiled(ctx, key, Some(identity), text(octets)))
    }

    fn known<'js>(
        &self,
        ctx: &Ctx<'js>,
        key: Key<'_>,
        identity: Option<&Identity>,
    ) -> Option<Value<'js>> {
        let Origin::Compiled(compiled) = &self.origin else {
            return None;
        };
        let code = compiled.code(key, identity)?;
        let known = read(ctx, &code)?;
        self.taken.set(self.taken.get() + 1);
        Some(known)
    }

    fn compiled<'js>(
        &self,
        ctx: &Ctx<'js>,
        key: Key<'_>,
        identity: Option<Identity>,
        text: String,
    ) -> rquickjs::Result<Function<'js>> {
        let code = compile(ctx, key.0, &text)?;
        self.made.set(self.made.get() + 1);
        if let Origin::Recorded(recorder) = &self.origin
            && let Some(number) = recorder.next(identity.as_ref())
            && let Some(marked) = marked(ctx, &code, &text, number)
        {
            recorder.keep(key, identity, marked, text);
        }
        run(ctx, code)
    }

    /// The text that a mark stands for.
    pub(super) fn text(&self, mark: &str) -> Option<String> {
        let Origin::Compiled(compiled) = &self.origin else {
            return None;
        };
        let mut numbers = mark.strip_prefix(MARK)?.split(',').map(str::parse);
        let mut next = || numbers.next()?.ok();
        let (number, start, length) = (next()?, next()?, next()?);
        let mut shown = self.shown.borrow_mut();
        if shown.0 != Some(number) {
            *shown = (Some(number), compiled.text(number)?);
        }
        let text = shown.1.get(start..start.checked_add(length)?)?;
        Some(text.to_owned())
    }
}

fn identity(path: &str) -> Option<Identity> {
    let file = std::fs::metadata(Path::new(path)).ok()?;
    Some(Identity::of(&file))
}

/// The code of a script, in the scope of all; nothing of it has run.
#[allow(unsafe_code)]
fn compile<'js>(ctx: &Ctx<'js>, file: &str, text: &str) -> rquickjs::Result<Value<'js>> {
    let (file, source) = (CString::new(file)?, CString::new(text)?);
    let flags = qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_COMPILE_ONLY;
    // SAFETY: both strings end in a zero and outlive the call, which copies what it keeps; the context is
    // the one that runs now.
    let code = unsafe {
        qjs::JS_Eval(
            ctx.as_raw().as_ptr(),
            source.as_ptr(),
            text.len() as _,
            file.as_ptr(),
            flags as i32,
        )
    };
    owned(ctx, code)
}

/// Runs a script and takes its value, which is a function.
#[allow(unsafe_code)]
fn run<'js>(ctx: &Ctx<'js>, code: Value<'js>) -> rquickjs::Result<Function<'js>> {
    // SAFETY: the call takes over one count of the code, which is added first; `code` has its own.
    let value = unsafe {
        let code = qjs::JS_DupValue(ctx.as_raw().as_ptr(), code.as_raw());
        qjs::JS_EvalFunction(ctx.as_raw().as_ptr(), code)
    };
    Function::from_js(ctx, owned(ctx, value)?)
}

/// A value that the engine gave us, or what it threw.
#[allow(unsafe_code)]
fn owned<'js>(ctx: &Ctx<'js>, value: qjs::JSValue) -> rquickjs::Result<Value<'js>> {
    // SAFETY: looks at the kind of a value alone.
    if unsafe { qjs::JS_VALUE_GET_TAG(value) } == qjs::JS_TAG_EXCEPTION {
        return Err(Error::Exception);
    }
    // SAFETY: its one count is ours, and it belongs to this context.
    Ok(unsafe { Value::from_raw(ctx.clone(), value) })
}

/// Compiled code; none if the engine cannot take it, as it has no memory.
#[allow(unsafe_code)]
fn read<'js>(ctx: &Ctx<'js>, code: &[u8]) -> Option<Value<'js>> {
    // SAFETY: the octets are those that `marked` gave in a process of the same program, which the master
    // waited for: they come from its sealed memory file, and their checksum is right.
    let value = unsafe {
        qjs::JS_ReadObject(
            ctx.as_raw().as_ptr(),
            code.as_ptr(),
            code.len() as _,
            qjs::JS_READ_OBJ_BYTECODE as i32,
        )
    };
    let value = owned(ctx, value);
    if value.is_err() {
        // The text is compiled instead, and says what is wrong with it.
        drop(ctx.catch());
    }
    value.ok()
}

/// What the engine writes of a script's code.
#[allow(unsafe_code)]
fn written(ctx: &Ctx<'_>, code: &Value<'_>, flags: u32) -> Option<Vec<u8>> {
    let mut length = MaybeUninit::uninit();
    let flags = qjs::JS_WRITE_OBJ_BYTECODE | flags;
    // SAFETY: the code has not run, so it holds constants alone. What comes back is the engine's memory of
    // `length` octets, which is copied and given back.
    unsafe {
        let context = ctx.as_raw().as_ptr();
        let octets = qjs::JS_WriteObject(context, length.as_mut_ptr(), code.as_raw(), flags as i32);
        if octets.is_null() {
            drop(ctx.catch());
            return None;
        }
        let out = std::slice::from_raw_parts(octets, length.assume_init() as usize).to_vec();
        qjs::js_free(context, octets.cast());
        Some(out)
    }
}

/// The code with marks for the texts of its functions.
fn marked(ctx: &Ctx<'_>, code: &Value<'_>, text: &str, number: usize) -> Option<Vec<u8>> {
    let full = written(ctx, code, 0)?;
    let bare = written(ctx, code, qjs::JS_WRITE_OBJ_STRIP_SOURCE)?;
    let mut out = with_marks(&full, &bare, text, number)?;
    // Its own checksum is not that of the new octets; the store has one that misses less.
    out.get_mut(1..HEADER)?.fill(0xff);
    Some(out)
}

/// `full` and `bare` are the same but for the texts of functions: the one has their length and them, the
/// other a length of zero. So wherever the two differ is one.
fn with_marks(full: &[u8], bare: &[u8], text: &str, number: usize) -> Option<Vec<u8>> {
    let mut out = full.get(..HEADER)?.to_vec();
    let (mut full, mut bare) = (full.get(HEADER..)?, bare.get(HEADER..)?);
    // A function ends before the one around it, and before the next: the search goes on from there.
    let mut ended: usize = 0;
    loop {
        let same = full.iter().zip(bare).take_while(|(a, b)| a == b).count();
        let (before, rest) = full.split_at_checked(same)?;
        out.extend_from_slice(before);
        bare = bare.get(same..)?;
        if rest.is_empty() && bare.is_empty() {
            return Some(out);
        }
        let (&0, after) = bare.split_first()? else {
            return None;
        };
        bare = after;
        let (length, rest) = number_of(rest)?;
        let (own, rest) = rest.split_at_checked(length)?;
        full = rest;
        let from = ended.saturating_sub(length);
        let start = place(text, own, from).or_else(|| place(text, own, 0))?;
        ended = start + length;
        let mark = format!("{MARK}{number},{start},{length}");
        let put = if mark.len() < length {
            mark.as_bytes()
        } else {
            own
        };
        // Seven bits each, the lowest first.
        let mut left = put.len();
        while left > 127 {
            out.push((left & 127) as u8 | 128);
            left >>= 7;
        }
        out.push(left as u8);
        out.extend_from_slice(put);
    }
}

/// Where a piece of a text begins, from here on. Its first octets are looked for, as getting ready to look
/// for a long piece takes longer.
fn place(text: &str, piece: &[u8], from: usize) -> Option<usize> {
    const FIRST: usize = 32;
    let text = text.as_bytes();
    let first = piece.get(..FIRST).unwrap_or(piece);
    memchr::memmem::find_iter(text.get(from..)?, first)
        .map(|at| at + from)
        .find(|at| text.get(*at..).is_some_and(|t| t.starts_with(piece)))
}

/// A number as the engine writes it, and what follows.
fn number_of(octets: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (at, octet) in octets.iter().enumerate().take(5) {
        number |= usize::from(octet & 127) << (7 * at);
        if octet & 128 == 0 {
            return Some((number, octets.get(at + 1..)?));
        }
    }
    None
}

/// The text of a file as it stands in a script: without the line that makes it a program on Unix.
pub(super) fn text_of(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets).into_owned();
    match text.strip_prefix("#!") {
        Some(rest) => format!("//{rest}"),
        None => text,
    }
}
