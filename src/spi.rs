// SPDX-License-Identifier: GPL-2.0

//! SPIs that name the server which chose them (pure).
//!
//! A server may be told which SPIs to choose: its IKE SPIs have a label in some of their bits, those
//! of its inbound ESP and AH SAs are out of a range.

/// What the IKE SPIs of a server have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// The bits that all of them have, not 0.
    mask: u64,
    /// What stands there.
    value: u64,
}

impl Label {
    /// `None` if the mask has no bits, or the value has bits besides.
    pub fn new(value: u64, mask: u64) -> Option<Self> {
        (mask != 0 && value & !mask == 0).then_some(Label { mask, value })
    }

    /// What stands in the bits of the mask.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Which bits count.
    pub fn mask(&self) -> u64 {
        self.mask
    }

    /// Whether some SPI has both labels.
    pub fn overlaps(&self, other: &Label) -> bool {
        (self.value ^ other.value) & self.mask & other.mask == 0
    }
}

/// The SPIs of the inbound ESP and AH SAs of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    min: u32,
    max: u32,
}

impl Range {
    /// The least SPI that is not reserved (RFC 4303 section 2.1).
    const LEAST: u32 = 256;

    /// From `min` to `max`, both included. `None` if that is no range, or has reserved SPIs.
    pub fn new(min: u32, max: u32) -> Option<Self> {
        (Self::LEAST <= min && min <= max).then_some(Range { min, max })
    }

    /// The least SPI.
    pub fn first(&self) -> u32 {
        self.min
    }

    /// The greatest SPI.
    pub fn last(&self) -> u32 {
        self.max
    }

    /// Whether an SPI is in both.
    pub fn overlaps(&self, other: &Range) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// What the SPIs of a server look like, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Its IKE SPIs.
    pub ike: Option<Label>,
    /// The SPIs of its inbound ESP and AH SAs.
    pub esp: Option<Range>,
}

impl Names {
    /// Whether an SPI could name both servers.
    pub fn overlap(&self, other: &Names) -> bool {
        let ike = self.ike.zip(other.ike);
        let esp = self.esp.zip(other.esp);
        ike.is_some_and(|(a, b)| a.overlaps(&b)) || esp.is_some_and(|(a, b)| a.overlaps(&b))
    }
}

/// Who has the label that an IKE SPI shows, of `labels`, which are sorted and do not overlap. Takes
/// a search for each mask there is.
#[inline]
pub fn by_label<T>(labels: &[(Label, T)], spi: u64) -> Option<&T> {
    let mut rest = labels;
    while let Some((first, _)) = rest.first() {
        let end = rest.partition_point(|(label, _)| label.mask <= first.mask);
        let (same_mask, others) = rest.split_at_checked(end)?;
        let found = same_mask.binary_search_by_key(&(spi & first.mask), |(label, _)| label.value);
        if let Ok(place) = found {
            return same_mask.get(place).map(|(_, owner)| owner);
        }
        rest = others;
    }
    None
}

/// Whose range has an SPI, of `ranges`, which are sorted and do not overlap.
#[inline]
pub fn by_range<T>(ranges: &[(Range, T)], spi: u32) -> Option<&T> {
    let behind = ranges.partition_point(|(range, _)| range.min <= spi);
    let (range, owner) = ranges.get(behind.checked_sub(1)?)?;
    (spi <= range.max).then_some(owner)
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_spi))]
mod tests {
    use super::*;

    fn label(value: u64, mask: u64) -> Label {
        Label::new(value, mask).unwrap()
    }

    fn range(min: u32, max: u32) -> Range {
        Range::new(min, max).unwrap()
    }

    #[test]
    fn what_names_nobody_is_refused() {
        assert_eq!(Label::new(0, 0), None);
        assert_eq!(Label::new(3, 1), None);
        assert!(Label::new(0, 1).is_some());
        assert_eq!(Range::new(255, 300), None);
        assert_eq!(Range::new(300, 299), None);
        assert_eq!(Range::new(0, 0), None);
        assert!(Range::new(256, 256).is_some());
        assert!(Range::new(256, u32::MAX).is_some());
    }

    #[test]
    fn labels_overlap_where_both_masks_look() {
        let one = label(0x0100, 0xff00);
        assert!(one.overlaps(&one));
        assert!(!one.overlaps(&label(0x0200, 0xff00)));
        assert!(one.overlaps(&label(0x02, 0xff)));
        assert!(one.overlaps(&label(0x0102, 0xffff)));
        assert!(!one.overlaps(&label(0x0202, 0xffff)));
    }

    #[test]
    fn ranges_overlap_in_one_spi_too() {
        let one = range(1000, 1999);
        assert!(one.overlaps(&range(1999, 3000)));
        assert!(one.overlaps(&range(300, 1000)));
        assert!(one.overlaps(&range(1200, 1300)));
        assert!(!one.overlaps(&range(2000, 3000)));
        assert!(!one.overlaps(&range(300, 999)));
    }

    #[test]
    fn either_kind_of_spi_makes_an_overlap() {
        let names = |ike, esp| Names {
            ike: Some(label(ike, 0xff)),
            esp: Some(range(esp, esp + 99)),
        };
        assert!(!names(1, 1000).overlap(&names(2, 2000)));
        assert!(names(1, 1000).overlap(&names(1, 2000)));
        assert!(names(1, 1000).overlap(&names(2, 1099)));
        assert!(!Names::default().overlap(&names(1, 1000)));
    }

    #[test]
    fn every_spi_of_a_range_is_found_and_no_other() {
        let ranges = [
            (range(300, 399), 'a'),
            (range(400, 400), 'b'),
            (range(500, 599), 'c'),
        ];
        for spi in 0..700 {
            let owner = match spi {
                300..=399 => Some('a'),
                400 => Some('b'),
                500..=599 => Some('c'),
                _ => None,
            };
            assert_eq!((spi, by_range(&ranges, spi).copied()), (spi, owner));
        }
        assert_eq!(by_range(&ranges, u32::MAX), None);
        assert_eq!(by_range::<char>(&[], 300), None);
    }

    #[test]
    fn labels_are_found_under_every_mask() {
        let mut labels = [
            (label(0x0100, 0xff00), 'a'),
            (label(0x0300, 0xff00), 'b'),
            (label(0x0205, 0xffff), 'c'),
            (label(0x8000_0000_0000_0000, 0x8000_0000_0000_0000), 'd'),
        ];
        labels.sort_unstable();
        for (spi, owner) in [
            (0x0100, Some('a')),
            (0xfeed_01ff, Some('a')),
            (0x0300, Some('b')),
            (0x0205, Some('c')),
            (0x0206, None),
            (0, None),
            (0x8000_0000_0000_0206, Some('d')),
        ] {
            assert_eq!((spi, by_label(&labels, spi).copied()), (spi, owner));
        }
    }
}
