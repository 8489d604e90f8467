//! Values between Rust and scripts: JSON, octets, errors with Node's codes.

use std::borrow::Cow;

use nix::errno::Errno;
use rquickjs::object::Property;
use rquickjs::{
    Array, Ctx, Error, Exception, FromJs, IntoAtom, IntoJs, Object, Type, TypedArray, Value,
};

/// Plain data.
#[derive(Clone, Debug, Default)]
pub(super) struct Json(pub(super) serde_json::Value);

impl<'js> IntoJs<'js> for Json {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        match self.0 {
            serde_json::Value::Null => Ok(Value::new_null(ctx.clone())),
            serde_json::Value::Bool(yes) => Ok(Value::new_bool(ctx.clone(), yes)),
            serde_json::Value::String(text) => text.into_js(ctx),
            serde_json::Value::Number(number) => {
                match number.as_i64().and_then(|n| i32::try_from(n).ok()) {
                    Some(small) => small.into_js(ctx),
                    None => number.as_f64().into_js(ctx),
                }
            }
            serde_json::Value::Array(items) => {
                let array = Array::new(ctx.clone())?;
                for (at, item) in (0_u32..).zip(items) {
                    define(&array, at, Json(item))?;
                }
                Ok(array.into_value())
            }
            serde_json::Value::Object(members) => {
                let object = Object::new(ctx.clone())?;
                for (key, value) in members {
                    define(&object, key, Json(value))?;
                }
                Ok(object.into_value())
            }
        }
    }
}

/// A member as JSON makes it: whatever scripts did to the prototypes, it is the object's own.
fn define<'js>(
    object: &Object<'js>,
    key: impl IntoAtom<'js>,
    value: impl IntoJs<'js>,
) -> rquickjs::Result<()> {
    let member = Property::from(value).writable().enumerable();
    object.prop(key, member.configurable())
}

impl<'js> FromJs<'js> for Json {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Json> {
        // Most of what comes is a single value; what JSON does not know (functions, undefined) is null.
        match value.type_of() {
            Type::Null | Type::Undefined => return Ok(Json::default()),
            Type::Bool => return Ok(Json(value.as_bool().into())),
            Type::Int => return Ok(Json(value.as_int().into())),
            Type::String => return String::from_js(ctx, value).map(|text| Json(text.into())),
            _ => {}
        }
        let Some(text) = ctx.json_stringify(value)? else {
            return Ok(Json::default());
        };
        let text = text.to_string()?;
        serde_json::from_str(&text)
            .map(Json)
            .map_err(|e| Exception::throw_type(ctx, &e.to_string()))
    }
}

/// Octets as text. Nearly all are UTF-8, which is seen much faster than what is wrong with others.
pub(super) fn lossy(octets: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(octets) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(octets),
    }
}

/// Octets; a `Uint8Array` in scripts.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'js> IntoJs<'js> for Bytes {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        TypedArray::new(ctx.clone(), self.0).map(TypedArray::into_value)
    }
}

impl<'js> FromJs<'js> for Bytes {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Bytes> {
        if let Some(text) = value.as_string() {
            return Ok(Bytes(text.to_string()?.into_bytes()));
        }
        let array = TypedArray::<u8>::from_value(value)
            .map_err(|_| Exception::throw_type(ctx, "octets are expected here"))?;
        Ok(Bytes(copied(&array)))
    }
}

#[allow(unsafe_code)]
fn copied(array: &TypedArray<'_, u8>) -> Vec<u8> {
    // SAFETY: no script runs between taking the slice and copying it, so the buffer can neither be
    // detached nor written.
    unsafe { array.as_bytes() }.unwrap_or_default().to_vec()
}

/// The name that Node gives a failure of the system, such as `ENOENT`.
pub(super) fn code_of(e: &std::io::Error) -> String {
    match e.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None if e.kind() == std::io::ErrorKind::FileTooLarge => "ERR_FS_FILE_TOO_LARGE".to_owned(),
        None => "EIO".to_owned(),
    }
}

/// Throws what the system said as Node does: `ENOENT: …, open 'x'` with code, syscall and path.
pub(super) fn throw_io(ctx: &Ctx<'_>, e: &std::io::Error, syscall: &str, path: &str) -> Error {
    let code = code_of(e);
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let message = format!("{code}: {}, {syscall} '{path}'", text.to_lowercase());
    let made = Exception::from_message(ctx.clone(), &message).and_then(|exception| {
        exception.set("code", code)?;
        exception.set("errno", e.raw_os_error().map(|n| -n))?;
        exception.set("syscall", syscall)?;
        exception.set("path", path)?;
        Ok(exception)
    });
    match made {
        Ok(exception) => exception.throw(),
        Err(e) => e,
    }
}

/// What was thrown, as text for a log: message and stack.
pub(super) fn describe(ctx: &Ctx<'_>, e: &Error) -> String {
    if !matches!(e, Error::Exception) {
        return e.to_string();
    }
    describe_value(ctx.catch())
}

/// The same for a value that was caught already.
pub(super) fn describe_value(thrown: Value<'_>) -> String {
    if let Some(exception) = thrown.as_exception() {
        let name: Option<String> = exception.get("name").ok();
        let message = exception.message().unwrap_or_default();
        let stack = exception.stack().unwrap_or_default();
        let mut text = match name.filter(|n| !n.is_empty()) {
            Some(name) if message.is_empty() => name,
            Some(name) => format!("{name}: {message}"),
            None => message,
        };
        if !stack.trim().is_empty() {
            text.push('\n');
            text.push_str(stack.trim_end());
        }
        return text;
    }
    match thrown.as_string().map(rquickjs::String::to_string) {
        Some(Ok(text)) => text,
        _ => match thrown.ctx().json_stringify(thrown.clone()) {
            Ok(Some(text)) => text.to_string().unwrap_or_default(),
            _ => format!("{thrown:?}"),
        },
    }
}
