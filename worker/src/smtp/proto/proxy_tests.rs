//! Headers of both versions, good, cut and damaged.

use super::*;

fn client(source: &str, destination: &str) -> Header {
    Header::Client(Client {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    })
}

fn bad(why: HeaderError) -> Scan {
    Scan::Bad(why)
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &len, rest].concat()
}

fn tcp4() -> Vec<u8> {
    vec![192, 0, 2, 1, 198, 51, 100, 2, 0xc0, 0x01, 0, 25]
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind][..], &len, value].concat()
}

// covers HAP-03
#[test]
fn a_line_names_both_ends() {
    for (line, found) in [
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 49153 25\r\n",
            client("192.0.2.1:49153", "198.51.100.2:25"),
        ),
        (
            "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
            client("0.0.0.0:0", "255.255.255.255:65535"),
        ),
        (
            "PROXY TCP6 2001:db8::1 ::1 1 00025\r\n",
            client("[2001:db8::1]:1", "[::1]:25"),
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            client(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
    ] {
        let consumed = line.len();
        let input = format!("{line}EHLO x\r\n");
        assert_eq!(
            scan(input.as_bytes()),
            Scan::Header { found, consumed },
            "{line}"
        );
        for cut in 0..consumed {
            assert_eq!(
                scan(&line.as_bytes()[..cut]),
                Scan::Incomplete,
                "{line} {cut}"
            );
        }
    }
}

// covers HAP-03, HAP-04
#[test]
fn a_line_that_is_not_of_the_form_is_refused() {
    for line in [
        "PROXY UNKNOWN",
        "PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2",
        "PROXY ",
        "PROXY TCP4",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 ",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 000002",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2",
        "PROXY TCP4 192.0.2 192.0.2.2 1 2",
        "PROXY TCP4 0192.0.2.1 192.0.2.2 1 2",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2",
        "PROXY TCP6 [::1] ::1 1 2",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \u{662}",
    ] {
        let input = format!("{line}\r\n");
        assert_eq!(scan(input.as_bytes()), bad(HeaderError::Line), "{line}");
    }
    let bare = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n";
    assert_eq!(scan(bare), bad(HeaderError::Line));
    assert_eq!(scan(b"PROXY \xff\r\n"), bad(HeaderError::Line));
}

#[test]
fn a_line_has_107_octets_at_most() {
    let filled = |len: usize| format!("PROXY {}", "x".repeat(len - 6));
    assert_eq!(scan(filled(106).as_bytes()), Scan::Incomplete);
    assert_eq!(scan(filled(107).as_bytes()), bad(HeaderError::LineTooLong));
    let ends_too_late = filled(106) + "\r\n";
    assert_eq!(
        scan(ends_too_late.as_bytes()),
        bad(HeaderError::LineTooLong)
    );
}

#[test]
fn what_does_not_begin_like_a_header_is_something_else() {
    for input in [
        &b"EHLO x\r\n"[..],
        b"P ",
        b"PROXYTCP4",
        b"proxy TCP4",
        b"\r\nE",
        b"\x16\x03\x01",
        b"\r\n\r\n\0\r\nQUIT\r",
    ] {
        assert_eq!(scan(input), Scan::Other, "{}", input.escape_ascii());
    }
}

// covers HAP-07, PB-07
#[test]
fn a_binary_header_names_both_ends_wherever_it_is_cut() {
    let six: Vec<u8> = [
        Ipv6Addr::LOCALHOST.octets(),
        "2001:db8::2".parse::<Ipv6Addr>().unwrap().octets(),
    ]
    .concat();
    let alpn = field(0x01, b"h2");
    let authority = field(0x02, &[b'x'; 255]);
    for (header, found) in [
        (
            v2(PROXY, TCP4, &tcp4()),
            client("192.0.2.1:49153", "198.51.100.2:25"),
        ),
        (
            v2(PROXY, TCP4, &[tcp4(), alpn, authority].concat()),
            client("192.0.2.1:49153", "198.51.100.2:25"),
        ),
        (
            v2(PROXY, TCP6, &[&six[..], &[0, 1, 0, 2]].concat()),
            client("[::1]:1", "[2001:db8::2]:2"),
        ),
        (v2(LOCAL, 0, b""), Header::Local),
        (v2(LOCAL, TCP4, &tcp4()), Header::Local),
        (v2(LOCAL, 0xff, b"whatever"), Header::Local),
    ] {
        let consumed = header.len();
        for cut in 0..consumed {
            assert_eq!(scan(&header[..cut]), Scan::Incomplete, "cut at {cut}");
        }
        let input = [&header[..], b"EHLO x\r\n"].concat();
        assert_eq!(scan(&input), Scan::Header { found, consumed });
    }
}

// covers HAP-07
#[test]
fn a_damaged_binary_header_is_refused() {
    use HeaderError::*;
    let with = |extra: &[u8]| [&tcp4()[..], extra].concat();
    for (header, why) in [
        (v2(0x11, TCP4, &tcp4()), Command),
        (v2(0x22, TCP4, &tcp4()), Command),
        (v2(0x2f, TCP4, &tcp4()), Command),
        (v2(PROXY, 0x00, b""), Family),
        (v2(PROXY, 0x10, &tcp4()), Family),
        (v2(PROXY, 0x12, &tcp4()), Family),
        (v2(PROXY, 0x31, &[0; 216]), Family),
        (v2(PROXY, 0x41, &[0; 216]), Family),
        (v2(PROXY, TCP4, &tcp4()[..11]), Length),
        (v2(PROXY, TCP6, &[0; 35]), Length),
        (v2(PROXY, TCP4, &with(&[1])), Length),
        (v2(PROXY, TCP4, &with(&[1, 0])), Length),
        (v2(PROXY, TCP4, &with(&[1, 0, 2, 0])), Length),
        (v2(PROXY, TCP4, &with(&[1, 0xff, 0xff, 0])), Length),
        (v2(PROXY, TCP4, &with(&field(CHECKSUM, &[0; 3]))), Length),
        (v2(PROXY, TCP4, &with(&field(CHECKSUM, &[0; 4]))), Checksum),
        (v2(PROXY, TCP4, &[0; LONGEST_BINARY - FIXED + 1]), TooLong),
    ] {
        assert_eq!(scan(&header), bad(why), "{}", header.escape_ascii());
    }
    // The length alone is enough to refuse it.
    let start = [&SIGNATURE[..], &[PROXY, TCP4, 0xff, 0xff]].concat();
    assert_eq!(scan(&start), bad(TooLong));
}

#[test]
fn a_right_checksum_is_accepted_and_any_flipped_bit_is_not() {
    let fields = [
        field(0x04, b"pad"),
        field(CHECKSUM, &[0; 4]),
        field(0x05, b"id"),
    ]
    .concat();
    let mut header = v2(PROXY, TCP4, &[tcp4(), fields].concat());
    let place = header.len() - 5 - 4;
    let sum = crc32c(header.iter().copied()).to_be_bytes();
    header[place..place + 4].copy_from_slice(&sum);
    assert!(matches!(scan(&header), Scan::Header { .. }));
    // Behind the command and family, where nothing else notices.
    for at in FIXED..FIXED + 12 {
        header[at] ^= 1;
        assert_eq!(scan(&header), bad(HeaderError::Checksum), "{at}");
        header[at] ^= 1;
    }
}

#[test]
fn crc32c_gives_the_sums_of_rfc_3720() {
    for (octets, sum) in [
        (vec![0; 32], 0x8a91_36aa),
        (vec![0xff; 32], 0x62a8_ab43),
        ((0..32).collect(), 0x46dd_794e),
        (b"123456789".to_vec(), 0xe306_9283),
    ] {
        assert_eq!(crc32c(octets.into_iter()), sum);
    }
}

#[test]
fn rest_of_the_signature_is_known() {
    assert!(is_rest_of_signature(b"\r\n\0\r\nQUIT\n\x21"));
    assert!(!is_rest_of_signature(b"\r\n"));
}
