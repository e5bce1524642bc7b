//! Text out of bytes that should be UTF-8 (contract 2, "Callback").
//!
//! Promises: valid UTF-8 stays where it is; one cut or foreign byte costs one U+FFFD and nothing else; what is mostly no
//! UTF-8 is read as GB18030, which Chinese Windows programs write. Never fails; linear.

use std::borrow::Cow;

/// The text in bytes: UTF-8, with U+FFFD for each fault, unless more of the non-ASCII bytes lie outside whole UTF-8
/// characters than inside: then GB18030.
#[must_use]
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let (mut inside, mut outside) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        inside += chunk.valid().bytes().filter(|byte| !byte.is_ascii()).count();
        outside += chunk.invalid().len();
    }
    if outside > inside {
        return Cow::Owned(gb18030(bytes));
    }
    String::from_utf8_lossy(bytes)
}

/// This many faults get a U+FFFD each; of later ones every run of them gets one.
const FAULTS_MAX: usize = 10_000;

/// Reads GB18030, with U+FFFD for each fault. Of megabytes that are no text at all not everyone is told: they would come
/// to three times their size, and so would all that is made of them.
fn gb18030(bytes: &[u8]) -> String {
    let mut decoder = encoding_rs::GB18030.new_decoder_without_bom_handling();
    let (mut out, mut rest, mut good, mut faults) = (String::with_capacity(bytes.len()), bytes, true, 0);
    // Of its own: the decoder clears all the room that it is given, for every fault.
    let mut buffer = [0; 4096];
    loop {
        let (result, read, written) = decoder.decode_to_utf8_without_replacement(rest, &mut buffer, true);
        rest = &rest[read..];
        out.push_str(std::str::from_utf8(&buffer[..written]).unwrap_or_default());
        good |= written > 0;
        match result {
            encoding_rs::DecoderResult::Malformed(..) => {
                faults += 1;
                if good || faults <= FAULTS_MAX {
                    out.push(char::REPLACEMENT_CHARACTER);
                }
                good = false;
            }
            encoding_rs::DecoderResult::InputEmpty => return out,
            encoding_rs::DecoderResult::OutputFull => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_cut_or_foreign_byte_leaves_the_rest_as_it_is() {
        for (bytes, text) in [
            (&b"plain"[..], "plain"),
            ("你好".as_bytes(), "你好"),
            (b"\xe5\xae\x89\xe5\xa8\x9c\xe5\xae\" \xe4\xbd\xa0", "安娜\u{fffd}\" 你"),
            (b"\xe5\xae\x89\xff", "安\u{fffd}"),
            (b"\xe5\xae\x89\xff\xfe\x80", "安\u{fffd}\u{fffd}\u{fffd}"),
            // As many outside as inside is not more.
            (b"\xc3\xa9 \xe9\xe9", "é \u{fffd}\u{fffd}"),
            (b"caf\xe9 chez", "caf\u{fffd}chez"),
            (b"\xc4\xe3\xba\xc3", "你好"),
        ] {
            if text.contains("chez") {
                // A lone Latin-1 byte is mostly no UTF-8; what GB18030 makes of it nobody promises.
                assert!(decode(bytes).contains("chez"), "{bytes:?}");
            } else {
                assert_eq!(decode(bytes), text, "{bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_no_text_does_not_grow() {
        assert_eq!(decode(&[0xff; 1000]), "\u{fffd}".repeat(1000));
        for part in [&b"\xff"[..], b"\x81\xff"] {
            assert_eq!(decode(&part.repeat(1 << 20)), "\u{fffd}".repeat(FAULTS_MAX));
        }
        let text = [&[0xff; FAULTS_MAX][..], &b"\xc4\xe3\xff\xff".repeat(1000)].concat();
        assert_eq!(decode(&text), "\u{fffd}".repeat(FAULTS_MAX) + &"你\u{fffd}".repeat(1000));
    }

    proptest! {
        #[test]
        fn cutting_one_character_costs_that_character(
            before in "[a-z\u{4e00}-\u{4fff}]{8,20}",
            cut in "[\u{4e00}-\u{4fff}]",
            after in "[\" a-z\u{4e00}-\u{4fff}]{8,20}",
            kept in 1_usize..3,
        ) {
            // Among Chinese enough that the cut one is the exception.
            prop_assume!(before.chars().chain(after.chars()).any(|c| !c.is_ascii()));
            let bytes = [before.as_bytes(), &cut.as_bytes()[..kept], after.as_bytes()].concat();
            prop_assert_eq!(decode(&bytes), format!("{before}\u{fffd}{after}"));
        }

        #[test]
        fn text_in_gb18030_is_read_where_it_is_mostly_no_utf_8(text in "[ -~\u{4e00}-\u{9fff}]{1,40}") {
            let (bytes, ..) = encoding_rs::GB18030.encode(&text);
            let mut inside = 0;
            let mut outside = 0;
            for chunk in bytes.utf8_chunks() {
                inside += chunk.valid().bytes().filter(|b| !b.is_ascii()).count();
                outside += chunk.invalid().len();
            }
            prop_assume!(outside > inside || outside + inside == 0);
            prop_assert_eq!(decode(&bytes), text.as_str());
        }

        #[test]
        fn any_bytes_are_read(bytes in any::<Vec<u8>>()) {
            let text = decode(&bytes);
            if std::str::from_utf8(&bytes).is_ok() {
                prop_assert_eq!(text.as_bytes(), &bytes[..]);
            }
        }
    }
}
