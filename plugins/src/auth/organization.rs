//! The organizational domain of a name: what was registered with a registrar (AUT-11).

/// The registered domain that this name belongs to, in lower case and with Unicode labels; `None` if
/// its top level is unknown, if it is itself a public suffix, or if it is no name.
pub(super) fn domain(name: &str) -> Option<String> {
    // Without errors: a label that cannot be decoded stays as it is.
    let (name, _) = idna::domain_to_unicode(name);
    if name.split('.').any(str::is_empty) {
        return None;
    }
    let found = psl::domain(name.as_bytes())?;
    if !found.suffix().is_known() {
        return None;
    }
    std::str::from_utf8(found.as_bytes())
        .ok()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers AUT-11
    #[test]
    fn names_belong_to_what_was_registered() {
        for (name, expected) in [
            ("example.com", Some("example.com")),
            ("Mail.Example.COM", Some("example.com")),
            ("a.b.example.co.uk", Some("example.co.uk")),
            ("co.uk", None),
            ("com", None),
            ("localhost", None),
            ("host.invalid-tld-x", None),
            ("a..com", None),
            ("", None),
            ("www.ck", Some("www.ck")),
            ("a.b.ck", Some("a.b.ck")),
            ("b.ck", None),
            ("x.city.kawasaki.jp", Some("city.kawasaki.jp")),
            ("mail.b\u{fc}cher.de", Some("b\u{fc}cher.de")),
            ("mail.xn--bcher-kva.de", Some("b\u{fc}cher.de")),
        ] {
            assert_eq!(domain(name).as_deref(), expected, "{name}");
        }
    }
}
