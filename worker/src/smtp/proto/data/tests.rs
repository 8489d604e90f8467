use super::*;

/// Feeds the input in the given pieces; the message, the octets consumed, whether it ended.
fn run(policy: BareLineEnds, pieces: &[&[u8]]) -> (Vec<u8>, usize, bool, Option<Violation>) {
    let mut scanner = DataScanner::new(policy);
    let mut message = Vec::new();
    let mut consumed = 0;
    let mut done = false;
    for piece in pieces {
        let scan = scanner.scan(piece, &mut |octets| message.extend_from_slice(octets));
        consumed += scan.consumed;
        assert!(
            scan.done || scan.consumed == piece.len(),
            "stops without an end"
        );
        if scan.done {
            done = true;
            break;
        }
    }
    assert_eq!(scanner.received(), consumed as u64);
    assert_eq!(scanner.stored(), message.len() as u64);
    (message, consumed, done, scanner.violation())
}

fn convert(input: &[u8]) -> (Vec<u8>, usize, bool) {
    let (message, consumed, done, violation) = run(BareLineEnds::Convert, &[input]);
    assert_eq!(violation, None);
    (message, consumed, done)
}

/// What the scanner does, said in the slowest and plainest way: cut at CRLF, unstuff each line, make
/// a line end of each lone CR and LF, stuff again.
fn model(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut text = Vec::new();
    let mut rest = input;
    loop {
        let at = rest.windows(2).position(|w| w == b"\r\n")?;
        let (line, after) = (&rest[..at], &rest[at + 2..]);
        rest = after;
        if line == b"." {
            return Some((stuffed(&text), input.len() - rest.len()));
        }
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        text.extend_from_slice(b"\r\n");
    }
}

fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut octets = text.iter().peekable();
    while let Some(&octet) = octets.next() {
        match octet {
            b'\r' => {
                octets.next_if(|next| **next == b'\n');
                lines.push(std::mem::take(&mut line));
            }
            b'\n' => lines.push(std::mem::take(&mut line)),
            _ => line.push(octet),
        }
    }
    assert!(line.is_empty(), "the model ends each line");
    let mut out = Vec::new();
    for line in lines {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(&line);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Removes stuffing, so that `.x` and `..x`-from-`.x` can be compared by meaning.
fn unstuffed(wire: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in wire.split_inclusive(|b| *b == b'\n') {
        out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    out
}

// covers CON-33, PA-23
#[test]
fn the_message_ends_at_a_dot_between_two_crlf_only() {
    for (input, message, rest) in [
        (&b".\r\n"[..], &b""[..], &b""[..]),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n\r\n.\r\n\r\n", b"a\r\n\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b"..\r\n", b""),
        (b".a\r\n..b\r\n.\r\n", b".a\r\n..b\r\n", b""),
        (b"a.\r\n.\r\n", b"a.\r\n", b""),
        (b". \r\n.\r\n", b". \r\n", b""),
        (b"a\r\n.\r\n.\r\n", b"a\r\n", b".\r\n"),
    ] {
        let shown = String::from_utf8_lossy(input);
        assert_eq!(
            convert(input),
            (message.to_vec(), input.len() - rest.len(), true),
            "{shown:?}"
        );
    }
    for input in [
        &b""[..],
        b".",
        b".\r",
        b"a\r\n.\r",
        b"a\r\n.",
        b"a\r\n",
        b"a.\r\n",
    ] {
        assert!(!convert(input).2, "{:?}", String::from_utf8_lossy(input));
    }
}

// covers PB-01
#[test]
fn no_other_line_end_ends_the_message_or_survives() {
    for (input, message) in [
        (
            &b"a\n.\n.\r\nb\r\n.\r\n"[..],
            &b"a\r\n..\r\n..\r\nb\r\n"[..],
        ),
        (
            b"a\n.\r\nMAIL FROM:<x@y>\r\n.\r\n",
            b"a\r\n..\r\nMAIL FROM:<x@y>\r\n",
        ),
        (b"a\r\n.\nMAIL\r\n.\r\n", b"a\r\n\r\nMAIL\r\n"),
        (b"a\r\n.\rMAIL\r\n.\r\n", b"a\r\n\r\nMAIL\r\n"),
        (b"a\r.\rb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
        (b"a\r.\r\nb\r\n.\r\n", b"a\r\n..\r\nb\r\n"),
        (b"a\n.b\r\n.\r\n", b"a\r\n..b\r\n"),
        (b"a\r\r\n.\r\n", b"a\r\n\r\n"),
        (b"a\n\r\n.\r\n", b"a\r\n\r\n"),
        (b".\n\r\n.\r\n", b"\r\n\r\n"),
        (b".\r\r\n.\r\n", b"\r\n\r\n"),
        (b".\n.\n\r\n.\r\n", b"\r\n..\r\n\r\n"),
    ] {
        let shown = String::from_utf8_lossy(input);
        let (out, consumed, done) = convert(input);
        assert_eq!(
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(message),
            "{shown:?}"
        );
        assert!(done && consumed == input.len(), "{shown:?}");
        assert!(is_wire_form(&out), "{shown:?}");
    }
}

#[test]
fn reject_reads_to_the_end_and_names_the_first_fault() {
    for (input, violation) in [
        (&b"a\nb\r\n.\r\nQUIT\r\n"[..], Violation::LineFeed),
        (b"a\rb\nc\r\n.\r\nQUIT\r\n", Violation::CarriageReturn),
        (b"a\n.\r\nRCPT\r\n.\r\nQUIT\r\n", Violation::LineFeed),
        (b"a\r\n.\nx\r\n.\r\nQUIT\r\n", Violation::LineFeed),
        (b"a\r\n.\rx\r\n.\r\nQUIT\r\n", Violation::CarriageReturn),
    ] {
        let shown = String::from_utf8_lossy(input);
        for cut in 0..input.len() {
            let found = run(BareLineEnds::Reject, &[&input[..cut], &input[cut..]]);
            assert_eq!(
                (found.2, found.3),
                (true, Some(violation)),
                "{shown:?} at {cut}"
            );
            assert_eq!(
                found.1,
                input.len() - b"QUIT\r\n".len(),
                "{shown:?} at {cut}"
            );
        }
        assert_eq!(
            run(BareLineEnds::Reject, &[input]).1,
            input.len() - b"QUIT\r\n".len()
        );
    }
    let clean = run(BareLineEnds::Reject, &[b"a\r\n..\r\n.\r\n"]);
    assert_eq!(clean, (b"a\r\n..\r\n".to_vec(), 10, true, None));
}

/// Every text of up to 8 octets over the four kinds of octet that matter, in one piece and cut
/// everywhere.
#[test]
fn all_short_inputs_agree_with_the_model() {
    const ALPHABET: [u8; 4] = *b"\r\n.x";
    let mut input = Vec::new();
    for length in 0..=8u32 {
        for number in 0..4usize.pow(length) {
            input.clear();
            input.extend((0..length).map(|i| ALPHABET[number >> (2 * i) & 3]));
            check_against_model(&input);
        }
    }
}

fn check_against_model(input: &[u8]) {
    let closed = [input, b"\r\n.\r\n"].concat();
    let (expected, length) = model(&closed).unwrap();
    let shown = String::from_utf8_lossy(input).into_owned();
    let whole = run(BareLineEnds::Convert, &[&closed]);
    assert_eq!((whole.1, whole.2), (length, true), "{shown:?}");
    assert!(
        is_wire_form(&whole.0),
        "{shown:?} gives {:?}",
        String::from_utf8_lossy(&whole.0)
    );
    assert_eq!(unstuffed(&whole.0), unstuffed(&expected), "{shown:?}");
    for cut in 1..length {
        let pieces = run(
            BareLineEnds::Convert,
            &[&closed[..cut], &closed[cut..length]],
        );
        assert_eq!(pieces, whole, "{shown:?} cut at {cut}");
    }
}

/// Long inputs, so that the block-wise path is taken, with faults at random places.
#[test]
fn long_inputs_agree_with_the_model() {
    let mut random = fastrand::Rng::with_seed(42);
    for round in 0..400 {
        let mut input = Vec::new();
        let faults = [0, 1, 3, 40, 400][round % 5];
        while input.len() < 2500 {
            if random.u32(..1000) < faults {
                let odd: [&[u8]; 8] = [
                    b"\n", b"\r", b"\n.", b"\r.", b"\r\n.\n", b"\r\n.\r", b"\n.\r\n", b"\r\r\n",
                ];
                input.extend_from_slice(odd[random.usize(..odd.len())]);
            }
            match random.u32(..30) {
                0 => input.extend_from_slice(b"\r\n"),
                1 => input.extend_from_slice(b"\r\n.."),
                2 => input.extend_from_slice(b"\r\n.x"),
                _ => input.extend(std::iter::repeat_n(b'a', random.usize(1..20))),
            }
        }
        let closed = [&input[..], b"\r\n.\r\n"].concat();
        let (expected, length) = model(&closed).unwrap();
        let whole = run(BareLineEnds::Convert, &[&closed]);
        assert_eq!((whole.1, whole.2), (length, true));
        assert_eq!(unstuffed(&whole.0), unstuffed(&expected));
        assert!(is_wire_form(&whole.0));

        let mut pieces = Vec::new();
        let mut rest = &closed[..length];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.usize(1..=rest.len().min(700)));
            pieces.push(piece);
            rest = after;
        }
        assert_eq!(run(BareLineEnds::Convert, &pieces), whole);
        if faults == 0 {
            assert_eq!(whole.0, closed[..length - 3], "byte for byte");
        }
    }
}

#[test]
fn faults_at_the_edge_of_a_block_are_seen() {
    let faults: [&[u8]; 7] = [
        b"\r", b"\n", b"\r\n.\n", b"\r\n.\r", b"\n.\r\n", b"\r.", b"\r\n.x",
    ];
    for fault in faults {
        for before in BLOCK - 6..BLOCK + 6 {
            let filling = vec![b'a'; before];
            let input = [&filling[..], fault, b"b\r\n.\r\n"].concat();
            let (expected, length) = model(&input).unwrap();
            let (message, consumed, done) = convert(&input);
            assert_eq!((consumed, done), (length, true));
            assert_eq!(
                unstuffed(&message),
                unstuffed(&expected),
                "{fault:?} after {before}"
            );
            assert!(is_wire_form(&message), "{fault:?} after {before}");
        }
    }
}

#[test]
fn a_clean_piece_is_handed_out_whole() {
    let message = b"0123456789\r\n".repeat(4000);
    let mut scanner = DataScanner::new(BareLineEnds::Convert);
    let mut pieces = Vec::new();
    scanner.scan(&message, &mut |piece| {
        pieces.push((piece.as_ptr(), piece.len()))
    });
    assert_eq!(pieces, [(message.as_ptr(), message.len())]);
}

// covers PB-01, the sending half
#[test]
fn resend_leaves_clean_messages_and_disarms_the_rest() {
    let resend = |pieces: &[&[u8]]| {
        let mut out = Vec::new();
        let mut cleaner = Resend::new();
        for piece in pieces {
            cleaner.push(piece, &mut |octets| out.extend_from_slice(octets));
        }
        cleaner.finish(&mut |octets| out.extend_from_slice(octets));
        out
    };
    for (stored, sent) in [
        (&b""[..], &b""[..]),
        (b"a\r\n..b\r\n", b"a\r\n..b\r\n"),
        (b"a", b"a\r\n"),
        (b"a\r", b"a\r\n"),
        (b"a\n", b"a\r\n"),
        (b"a\n.\r\nMAIL\r\n", b"a\r\n..\r\nMAIL\r\n"),
        (b"a\r\n.\r\nMAIL\r\n.\r\n", b"a\r\n..\r\nMAIL\r\n..\r\n"),
        (b".", b"..\r\n"),
        (b"a\r\n.\r", b"a\r\n..\r\n"),
        (b".\r\n.\r\n", b"..\r\n..\r\n"),
    ] {
        for cut in 0..=stored.len() {
            let out = resend(&[&stored[..cut], &stored[cut..]]);
            assert_eq!(
                out,
                sent,
                "{:?} cut at {cut}",
                String::from_utf8_lossy(stored)
            );
            assert!(is_wire_form(&out));
        }
    }
}

#[test]
fn wire_form_is_recognised() {
    for good in [
        &b""[..],
        b"\r\n",
        b"a\r\n",
        b"..\r\n",
        b"a\r\n..\r\n",
        b".a\r\n",
    ] {
        assert!(is_wire_form(good), "{:?}", String::from_utf8_lossy(good));
    }
    for bad in [
        &b"a"[..],
        b"a\n",
        b"\n",
        b"a\rb\r\n",
        b"a\r\r\n",
        b".\r\n",
        b"a\r\n.\r\n",
        b"a\r",
    ] {
        assert!(!is_wire_form(bad), "{:?}", String::from_utf8_lossy(bad));
    }
}
