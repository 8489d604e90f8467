//! What form a file has, by its name or because its reader says so (CFS-02).

use std::path::Path;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// Sections and keys.
    Ini,
    /// JSON.
    Json,
    /// JSON for people: comments, no quotes.
    Hjson,
    /// YAML 1.2.
    Yaml,
    /// A script whose export is the value.
    Js,
    /// Lines without blanks and comments.
    List,
    /// Lines as they stand.
    Data,
    /// The first line that says something.
    Value,
    /// Bytes.
    Binary,
}

impl FileType {
    /// By the ending of a name, in any case; a value where that says nothing.
    pub fn of(name: &str) -> FileType {
        let ending = Path::new(name).extension().and_then(|e| e.to_str());
        match ending.unwrap_or_default().to_ascii_lowercase().as_str() {
            "yml" => FileType::Yaml,
            "pem" | "bin" | "binary" => FileType::Binary,
            "value" => FileType::Value,
            ending => FileType::named(ending).unwrap_or(FileType::Value),
        }
    }

    /// The type that `config.get(name, type)` asks for; `None` for any other word.
    pub fn named(word: &str) -> Option<FileType> {
        Some(match word {
            "ini" => FileType::Ini,
            "json" => FileType::Json,
            "hjson" => FileType::Hjson,
            "yaml" => FileType::Yaml,
            "js" => FileType::Js,
            "list" => FileType::List,
            "data" => FileType::Data,
            "value" => FileType::Value,
            "binary" => FileType::Binary,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_the_type_and_anything_else_is_a_value() {
        // covers CFS-02
        for (name, want) in [
            ("smtp.ini", FileType::Ini),
            ("a/b.JSON", FileType::Json),
            ("x.hjson", FileType::Hjson),
            ("x.yaml", FileType::Yaml),
            ("x.yml", FileType::Yaml),
            ("x.js", FileType::Js),
            ("x.list", FileType::List),
            ("x.data", FileType::Data),
            ("tls_key.pem", FileType::Binary),
            ("x.bin", FileType::Binary),
            ("x.tar.binary", FileType::Binary),
            ("me", FileType::Value),
            (".json", FileType::Value),
            ("relay.timeout", FileType::Value),
            ("x.ini/y", FileType::Value),
        ] {
            assert_eq!(FileType::of(name), want, "{name}");
        }
        // A word that names a type, but no ending that Haraka knows.
        assert_eq!(FileType::of("x.binary"), FileType::Binary);
        assert_eq!(FileType::named("yml"), None);
    }
}
