//! The one reader and writer of stored bytes: little-endian numbers, and a checksum at the end of what is replaced whole.
//!
//! Promises: reading never panics; what is too short gives `None`. Leaves to others: what the bytes mean. Keys are
//! big-endian, so that their order is that of the bytes: [`key`](crate::key).

/// Reads from front to back.
#[derive(Debug, Clone, Copy)]
pub struct LeReader<'a>(pub &'a [u8]);

impl<'a> LeReader<'a> {
    /// The next this many bytes.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// The same, of a fixed length.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Four bytes that are a length.
    pub fn len32(&mut self) -> Option<usize> {
        self.u32().and_then(|len| usize::try_from(len).ok())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Eight bytes with a sign.
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Sixteen bytes.
    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}

/// Writes at the end.
pub trait LeWriter {
    /// These bytes.
    fn bytes(&mut self, bytes: &[u8]);

    /// Two bytes.
    fn u16(&mut self, n: u16) {
        self.bytes(&n.to_le_bytes());
    }

    /// Four bytes.
    fn u32(&mut self, n: u32) {
        self.bytes(&n.to_le_bytes());
    }

    /// A length as four bytes. One that does not fit is written as the largest: who can meet one refuses it before.
    fn len32(&mut self, len: usize) {
        self.u32(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// Eight bytes.
    fn u64(&mut self, n: u64) {
        self.bytes(&n.to_le_bytes());
    }

    /// Eight bytes with a sign.
    fn i64(&mut self, n: i64) {
        self.bytes(&n.to_le_bytes());
    }

    /// Sixteen bytes.
    fn u128(&mut self, n: u128) {
        self.bytes(&n.to_le_bytes());
    }
}

impl LeWriter for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The bytes with their checksum (CRC-32) after them.
#[must_use]
pub fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes);
    bytes.u32(crc);
    bytes
}

/// What was sealed, when its checksum is right.
#[must_use]
pub fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (bytes, crc) = bytes.split_last_chunk()?;
    (crc32fast::hash(bytes) == u32::from_le_bytes(*crc)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_off_is_none() {
        let mut bytes = Vec::new();
        bytes.u16(0x0201);
        bytes.u32(0x0403_0201);
        bytes.len32(5);
        bytes.u64(7);
        bytes.i64(-8);
        bytes.u128(9);
        assert_eq!(bytes[..10], [1, 2, 1, 2, 3, 4, 5, 0, 0, 0]);
        let mut reader = LeReader(&bytes);
        assert_eq!((reader.u16(), reader.u32(), reader.len32()), (Some(0x0201), Some(0x0403_0201), Some(5)));
        assert_eq!((reader.u64(), reader.i64()), (Some(7), Some(-8)));
        assert_eq!(LeReader(&reader.0[..15]).u128(), None);
        assert_eq!((reader.u128(), reader.u8(), reader.bytes(1)), (Some(9), None, None));
    }

    #[test]
    fn a_seal_tells_every_flipped_bit() {
        let bytes = sealed(b"some bytes".to_vec());
        assert_eq!(unsealed(&bytes), Some(&b"some bytes"[..]));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unsealed(&bytes), None, "{bit}");
        }
        assert_eq!(unsealed(b"abc"), None);
    }
}
