//! The little of DER that certificates and keys need: elements one after the other, bounded by what
//! is there. Anything unexpected is no element.

/// Tags (X.690, section 8).
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;

/// The tag of a constructed `[number]`.
pub(crate) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// What is left of a row of elements.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Takes the next element off: its tag and its content.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            // Up to 16 MB: more than any file that is read.
            let bytes = usize::from(first & 0x7f);
            if !(1..=3).contains(&bytes) {
                return None;
            }
            let (length, after) = rest.split_at_checked(bytes)?;
            rest = after;
            length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// Takes the next element off if it has this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content) = ahead.next()?;
        (found == tag).then(|| {
            *self = ahead;
            content
        })
    }

    /// As [`Self::take`], for an element that holds others.
    pub(crate) fn within(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }

    /// The bytes of a bit string, which are whole ones in keys.
    pub(crate) fn bits(&mut self) -> Option<&'a [u8]> {
        self.take(BIT_STRING)?.strip_prefix(&[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_end_where_the_bytes_do() {
        let mut two = Elements::of(&[0x02, 1, 5, 0x30, 0x81, 2, 0x04, 0]);
        assert_eq!(two.take(SEQUENCE), None);
        assert_eq!(two.take(INTEGER), Some(&[5][..]));
        let mut inner = two.within(SEQUENCE).unwrap();
        assert_eq!(inner.next(), Some((OCTET_STRING, &[][..])));
        assert_eq!((inner.next(), two.next()), (None, None));
        for bad in [
            &[0x30][..],
            &[0x30, 2, 0],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x82, 1],
            &[0x30, 0x84, 0, 0, 0, 0],
            &[0x30, 0x83, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(Elements::of(bad).next(), None, "{bad:?}");
        }
    }
}
