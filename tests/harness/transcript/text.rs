//! The small languages inside a transcript: escapes in what is sent, patterns and masks for what comes back.
//! Pure functions.

/// `\r \n \t \0 \\ \xNN`, and `\{TEXT*N}` for N times TEXT.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        let kind = after.chars().next().ok_or("text ends with a backslash")?;
        rest = &after[kind.len_utf8()..];
        match kind {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            'x' => {
                let digits = rest.get(..2).ok_or("\\x needs two digits")?;
                out.push(u8::from_str_radix(digits, 16).map_err(|_| "\\x needs two digits")?);
                rest = &rest[2..];
            }
            '{' => {
                let (inside, after) = rest.split_once('}').ok_or("\\{ without }")?;
                let (part, count) = inside.rsplit_once('*').ok_or("\\{TEXT*N}")?;
                let count = count.parse().map_err(|_| "\\{TEXT*N}: N is a number")?;
                out.extend(unescape(part)?.repeat(count));
                rest = after;
            }
            other => return Err(format!("unknown escape \\{other}")),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// `*` for any text, `?` for any octet, all else for itself; the whole line has to fit.
pub fn glob_fits(glob: &[u8], line: &[u8]) -> bool {
    match (glob.split_first(), line.split_first()) {
        (None, None) => true,
        (Some((b'*', after)), _) => {
            (0..=line.len()).any(|skipped| glob_fits(after, &line[skipped..]))
        }
        (Some((b'?', glob)), Some((_, line))) => glob_fits(glob, line),
        (Some((want, glob)), Some((is, line))) => want == is && glob_fits(glob, line),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The line with everything that differs from run to run replaced: `UUID` for a connection or transaction
/// id, `(UUID6)` for the six characters of one in brackets.
pub fn masked(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = uuid_length(rest) {
            out.push_str("UUID");
            rest = &rest[length..];
        } else if rest.len() >= 8
            && first == '('
            && rest.as_bytes()[7] == b')'
            && rest.as_bytes()[1..7].iter().all(|b| is_upper_hex(*b))
        {
            out.push_str("(UUID6)");
            rest = &rest[8..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn uuid_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes().get(..36)?;
    let fits = |at: usize, b: u8| {
        if matches!(at, 8 | 13 | 18 | 23) {
            b == b'-'
        } else {
            is_upper_hex(b)
        }
    };
    if !bytes.iter().enumerate().all(|(at, b)| fits(at, *b)) {
        return None;
    }
    let counters = text[36..]
        .bytes()
        .take_while(|b| *b == b'.' || b.is_ascii_digit())
        .count();
    // A full stop that ends the sentence is not part of the id.
    let counters = text[36..36 + counters].trim_end_matches('.').len();
    Some(36 + counters)
}

fn is_upper_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'A'..=b'F').contains(&b)
}
