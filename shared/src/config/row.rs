//! What a declared setting is, and the macro that declares a file of them.
//!
//! A row is written once, in the file named after its ini file; the typed field, its default, the
//! check of a value, `docs/config.md` and the shipped file in `config/` all come from it. Reading is
//! in `reader.rs`.

use super::reader::Reader;

/// One setting.
#[derive(Clone, Copy)]
pub struct Row {
    /// Section; `main` for what may stand before the first header.
    pub section: &'static str,
    /// Key.
    pub key: &'static str,
    /// What applies when the key is absent, as it would be written.
    pub default: &'static str,
    /// A value that shows the form, where the default does not.
    pub example: &'static str,
    /// What it means.
    pub text: &'static str,
    /// The form of its value.
    pub kind: &'static (dyn Describe + Sync),
    /// A value that the shipped file sets, where it is not the default.
    pub shipped: Option<&'static str>,
    /// A value file that still counts while the key is absent (KEY-53).
    pub legacy: Option<&'static str>,
    /// A file of older versions that no longer counts (KEY-62, KEY-64).
    pub former: Option<&'static str>,
    /// A bad value is warned about and the default applies, as Haraka does.
    pub lenient: bool,
    /// 0 means the default, as in Haraka.
    pub zero_is_default: bool,
    /// The setting is not in Haraka.
    pub ours: bool,
    /// A change counts while the server runs.
    pub live: bool,
    /// The value is not to be shown.
    pub secret: bool,
}

impl Row {
    /// A setting and its default.
    pub const fn new(section: &'static str, key: &'static str, default: &'static str) -> Row {
        Row {
            section,
            key,
            default,
            example: "",
            text: "",
            kind: &NoKind,
            shipped: None,
            legacy: None,
            former: None,
            lenient: false,
            zero_is_default: false,
            ours: false,
            live: false,
            secret: false,
        }
    }

    /// With an example.
    pub const fn example(mut self, value: &'static str) -> Row {
        self.example = value;
        self
    }

    /// With the value that the shipped file sets.
    pub const fn shipped(mut self, value: &'static str) -> Row {
        self.shipped = Some(value);
        self
    }

    /// With the value file that still counts while the key is absent.
    pub const fn legacy(mut self, file: &'static str) -> Row {
        self.legacy = Some(file);
        self
    }

    /// With the file of older versions that no longer counts.
    pub const fn former(mut self, file: &'static str) -> Row {
        self.former = Some(file);
        self
    }

    /// A bad value only warns.
    pub const fn lenient(mut self) -> Row {
        self.lenient = true;
        self
    }

    /// 0 means the default.
    pub const fn zero_is_default(mut self) -> Row {
        self.zero_is_default = true;
        self
    }

    /// Not in Haraka.
    pub const fn ours(mut self) -> Row {
        self.ours = true;
        self
    }

    /// A change counts while the server runs; without it, after a restart.
    pub const fn live(mut self) -> Row {
        self.live = true;
        self
    }

    /// The value is not to be shown.
    pub const fn secret(mut self) -> Row {
        self.secret = true;
        self
    }

    /// For the macro: text and kind.
    pub const fn of(mut self, text: &'static str, kind: &'static (dyn Describe + Sync)) -> Row {
        self.text = text;
        self.kind = kind;
        self
    }
}

/// Stands for the name of a section in rows that belong to any section that an operator names.
pub const NAMED: &str = "<name>";

/// The settings of one file. A row with the key `*` stands for all keys of its section, which are
/// the operator's.
pub struct FileDecl {
    /// File name below `config/`.
    pub name: &'static str,
    /// What the file is about.
    pub text: &'static str,
    /// Section names with what each is about, in the order of the shipped file.
    pub sections: &'static [(&'static str, &'static str)],
    /// Settings in the order of the shipped file.
    pub rows: &'static [Row],
    /// Keys that are known but do nothing here, with what to do instead. Key `*` is any key.
    pub gone: &'static [Gone],
}

impl FileDecl {
    /// Whether sections may have names that are the operator's.
    pub fn names_sections(&self) -> bool {
        self.sections.iter().any(|(name, _)| *name == NAMED)
    }
}

/// A key of older versions.
pub struct Gone {
    /// Its section.
    pub section: &'static str,
    /// Its name.
    pub key: &'static str,
    /// What an operator should do.
    pub instead: &'static str,
}

/// The form of a value, for the document and the messages.
pub trait Describe {
    /// Such as `seconds, 1 to 3600`.
    fn describe(&self) -> String;
    /// Whether it is written with `key[] = value` lines.
    fn is_list(&self) -> bool {
        false
    }
    /// Whether it may be written as one value and as a list.
    fn may_be_list(&self) -> bool {
        self.is_list()
    }
    /// Whether it names files, so that nothing of it is secret, whatever its key is called.
    fn names_files(&self) -> bool {
        false
    }
    /// Whether an empty value is a value; else it counts as absent.
    fn takes_empty(&self) -> bool {
        false
    }
}

/// A form of value: how text becomes a typed value.
pub trait Kind: Describe {
    /// What the value is past the loader.
    type Out;

    /// The value, or what is wrong with the text.
    fn parse(&self, text: &str) -> Result<Self::Out, String>;

    /// What a bad or missing value counts as, with a warning: false, for booleans only.
    fn fallback(&self) -> Option<Self::Out> {
        None
    }

    /// Reads the setting from a file.
    fn read(&self, reader: &mut Reader<'_>, row: &Row) -> Option<Self::Out> {
        reader.single(self, row)
    }
}

/// Stands in for the kind until the macro sets it.
struct NoKind;

impl Describe for NoKind {
    fn describe(&self) -> String {
        String::new()
    }
}

/// Declares the settings of an ini file: a struct with one typed field per row, the table of rows,
/// and the function that fills the struct. A field's documentation is the setting's text.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $name:ident, $decl:ident = $file:literal;
        sections { $($section:literal => $section_text:literal,)+ }
        gone { $($gone_section:literal, $gone_key:literal => $instead:literal,)* }
        rows { $( $(#[doc = $text:literal])+ $field:ident: $ty:ty = $row:expr, $kind:expr; )+ }
        derived { $( $(#[doc = $derived_text:literal])+ $derived:ident: $derived_ty:ty = $init:expr; )* }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[doc = $text])+ pub $field: $ty, )+
            $( $(#[doc = $derived_text])+ pub $derived: $derived_ty, )*
        }

        /// The settings of the file.
        pub static $decl: $crate::config::row::FileDecl = $crate::config::row::FileDecl {
            name: $file,
            text: concat!($($about),+),
            sections: &[$(($section, $section_text),)+],
            rows: &[$( $row.of(concat!($($text),+), const { &$kind }), )+],
            gone: &[$( $crate::config::row::Gone {
                section: $gone_section,
                key: $gone_key,
                instead: $instead,
            }, )*],
        };

        impl $name {
            fn read(reader: &mut $crate::config::reader::Reader<'_>) -> Option<Self> {
                // All are read before the first failure counts, so that all failures are told.
                $( let $field = $crate::config::row::Kind::read(&$kind, reader, &$row); )+
                Some($name { $($field: $field?,)+ $($derived: $init,)* })
            }

            /// Takes the settings that count while the server runs from a newer reading.
            #[allow(dead_code)]
            fn adopt_live(&mut self, newer: &Self) {
                $( if const { $row.live } { self.$field.clone_from(&newer.$field); } )+
            }
        }
    };
}
pub(super) use settings;
