//! Responses of an authority that say whether a certificate is revoked (OCSP, RFC 6960), for stapling
//! (TLS-09). They are fetched by others, for example `openssl ocsp -respout`, and read from files.
//!
//! Pure. Only what keeps a useless response from clients is looked at; the signature is theirs to check.

use x509_parser::asn1_rs::{Any, Class, FromDer as _, GeneralizedTime, Tag};

/// Why a response is not stapled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OcspError {
    /// The file holds something else.
    #[error("not an OCSP response in DER form")]
    Form,
    /// The authority had no answer.
    #[error("the response is an error of the authority")]
    Refused,
    /// The response was good until this time, in seconds since 1970.
    #[error("the response is too old")]
    Old,
}

/// Whether a response may be stapled at this time, in seconds since 1970. Gives the time until which
/// it may.
pub(super) fn check(response: &[u8], now: i64) -> Result<Option<i64>, OcspError> {
    let outer = content(response, Tag::Sequence)?;
    let (rest, status) = element(outer)?;
    if status.tag() != Tag::Enumerated {
        return Err(OcspError::Form);
    }
    if status.data != [0] {
        return Err(OcspError::Refused);
    }
    let (_, wrapped) = element(rest)?;
    let (rest, _kind) = element(content(wrapped.data, Tag::Sequence)?)?;
    let basic = content(content(rest, Tag::OctetString)?, Tag::Sequence)?;
    let until = next_update(content(basic, Tag::Sequence)?)?;
    match until {
        Some(until) if until < now => Err(OcspError::Old),
        until => Ok(until),
    }
}

/// `nextUpdate` of the first certificate in `ResponseData`.
fn next_update(data: &[u8]) -> Result<Option<i64>, OcspError> {
    // version [0], responderID [1] or [2], producedAt, then the responses.
    let mut rest = data;
    let responses = loop {
        let (after, part) = element(rest)?;
        if part.tag() == Tag::Sequence && part.class() == Class::Universal {
            break part.data;
        }
        rest = after;
    };
    let mut single = content(responses, Tag::Sequence)?;
    // certID, certStatus, thisUpdate, then nextUpdate [0].
    for _ in 0..3 {
        single = element(single)?.0;
    }
    match element(single) {
        Ok((_, part)) if part.class() == Class::ContextSpecific && part.tag() == Tag(0) => {
            let (_, time) = GeneralizedTime::from_der(part.data).map_err(|_| OcspError::Form)?;
            let time = time.utc_datetime().map_err(|_| OcspError::Form)?;
            Ok(Some(time.unix_timestamp()))
        }
        _ => Ok(None),
    }
}

fn element(input: &[u8]) -> Result<(&[u8], Any<'_>), OcspError> {
    Any::from_der(input).map_err(|_| OcspError::Form)
}

fn content(input: &[u8], tag: Tag) -> Result<&[u8], OcspError> {
    let (_, any) = element(input)?;
    match any.tag() == tag {
        true => Ok(any.data),
        false => Err(OcspError::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Good until the year 2109.
    const RESPONSE: &[u8] = include_bytes!("../../tests/data/response.ocsp");

    #[test]
    fn response_is_good_until_its_next_update() {
        // covers TLS-09
        let until = check(RESPONSE, 1_800_000_000).unwrap().unwrap();
        assert!(until > 4_000_000_000, "{until}");
        assert_eq!(check(RESPONSE, until + 1), Err(OcspError::Old));
    }

    #[test]
    fn errors_of_the_authority_and_other_files_are_refused() {
        // tryLater (3), RFC 6960 section 4.2.1.
        let later = [0x30, 3, 0x0a, 1, 3];
        assert_eq!(check(&later, 0), Err(OcspError::Refused));
        assert_eq!(check(b"-----BEGIN", 0), Err(OcspError::Form));
        for cut in 0..RESPONSE.len() {
            assert_eq!(check(&RESPONSE[..cut], 0), Err(OcspError::Form), "{cut}");
        }
    }
}
