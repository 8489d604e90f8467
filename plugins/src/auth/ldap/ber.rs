//! The part of BER that LDAP uses (X.690, RFC 4511 §5.1): definite lengths, one-octet tags.
//!
//! Reading never goes beyond what is there, and takes no memory that was not received.

/// Tags of the universal class that LDAP has.
pub(crate) const INTEGER: u8 = 0x02;
/// Octets, mostly UTF-8.
pub(crate) const OCTETS: u8 = 0x04;
/// One of several.
pub(crate) const ENUMERATED: u8 = 0x0a;
/// True or false.
pub(crate) const BOOLEAN: u8 = 0x01;
/// One after the other.
pub(crate) const SEQUENCE: u8 = 0x30;

/// An element: its tag, its length, what it holds.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    match u8::try_from(length) {
        Ok(short @ 0..0x80) => out.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let first = octets.iter().position(|o| *o != 0).unwrap_or(0);
            let octets = octets.get(first..).unwrap_or_default();
            // A usize has eight octets at most.
            out.push(0x80 | octets.len() as u8);
            out.extend_from_slice(octets);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A number in as few octets as it takes (X.690 §8.3).
pub(crate) fn integer(tag: u8, value: u32) -> Vec<u8> {
    let octets = i64::from(value).to_be_bytes();
    // One octet more than the number has, if its first bit would make it negative.
    let first = octets.iter().position(|o| *o != 0).unwrap_or(7);
    let negative = octets.get(first).is_some_and(|o| o & 0x80 != 0);
    let from = if negative { first - 1 } else { first };
    element(tag, octets.get(from..).unwrap_or_default())
}

/// The number that these octets are; `None` if it is negative or does not fit.
pub(crate) fn number(content: &[u8]) -> Option<u32> {
    let first = content.first()?;
    if content.len() > 5 || first & 0x80 != 0 {
        return None;
    }
    let value = content.iter().fold(0u64, |n, o| n << 8 | u64::from(*o));
    u32::try_from(value).ok()
}

/// How many octets the element at the front takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Not all of its head is there.
    Unknown,
    /// Head and content.
    Whole(usize),
    /// No head that LDAP would have, or a length beyond all sense.
    Bad,
}

/// See [`Size`].
pub(crate) fn size(octets: &[u8]) -> Size {
    let Some(length) = octets.get(1) else {
        return Size::Unknown;
    };
    if *length < 0x80 {
        return Size::Whole(2 + usize::from(*length));
    }
    let count = usize::from(length & 0x7f);
    if count == 0 || count > 4 {
        return Size::Bad;
    }
    let Some(octets) = octets.get(2..2 + count) else {
        return Size::Unknown;
    };
    let length = octets.iter().fold(0usize, |n, o| n << 8 | usize::from(*o));
    Size::Whole(length.saturating_add(2 + count))
}

/// Takes the element at the front: tag and content, and what follows it.
pub(crate) fn take(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let Size::Whole(whole) = size(octets) else {
        return None;
    };
    let (element, rest) = octets.split_at_checked(whole)?;
    let tag = *element.first()?;
    let head = match element.get(1)? {
        short @ 0..0x80 => element.len() - usize::from(*short),
        long => 2 + usize::from(long & 0x7f),
    };
    Some((tag, element.get(head..)?, rest))
}

/// Takes the element at the front if it has this tag.
pub(crate) fn take_tagged(octets: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = take(octets)?;
    (tag == wanted).then_some((content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_the_shortest_form() {
        for (value, coded) in [
            (0, &[2u8, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (256, &[2, 2, 1, 0]),
            (u32::MAX, &[2, 5, 0, 255, 255, 255, 255]),
        ] {
            assert_eq!(integer(INTEGER, value), coded, "{value}");
            let (content, rest) = take_tagged(coded, INTEGER).unwrap();
            assert_eq!((number(content), rest.len()), (Some(value), 0));
        }
        for bad in [&[][..], &[0x80], &[0xff, 0], &[1, 0, 0, 0, 0], &[0; 6]] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn elements_of_every_length_come_back() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let mut coded = element(OCTETS, &vec![b'x'; length]);
            assert_eq!(size(&coded), Size::Whole(coded.len()));
            coded.extend_from_slice(b"rest");
            let (content, rest) = take_tagged(&coded, OCTETS).unwrap();
            assert_eq!((content.len(), rest), (length, &b"rest"[..]));
            for cut in 0..coded.len() - 4 {
                assert_eq!(take(&coded[..cut]), None, "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn heads_that_lie_are_no_elements() {
        for bad in [
            &[0x30, 0x80, 0, 0][..],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x30, 0xff],
        ] {
            assert_eq!(size(bad), Size::Bad, "{bad:?}");
            assert_eq!(take(bad), None);
        }
        assert_eq!(take(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1]), None);
    }
}
