//! `numeric` in its binary form: base-10000 digits, compared without conversion.

use std::cmp::Ordering;

use crate::wire::{Malformed, take};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const POSITIVE_INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// A `numeric`, read in place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numeric<'a> {
    NegativeInfinity,
    Finite {
        sign: Sign,
        /// The power of 10000 of the first digit.
        weight: i32,
        /// Two bytes each, without leading and trailing zero digits; none for zero.
        digits: &'a [[u8; 2]],
    },
    PositiveInfinity,
    /// Equal to itself and above everything, as PostgreSQL sorts it.
    Nan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Negative,
    Positive,
}

impl<'a> Numeric<'a> {
    pub(super) fn parse(mut bytes: &'a [u8]) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed("a numeric");
        let mut field = || take::<2>(&mut bytes).ok_or(WRONG);
        let (count, weight, sign, _scale) = (field()?, field()?, field()?, field()?);
        let sign = match u16::from_be_bytes(sign) {
            NAN => return Ok(Self::Nan),
            POSITIVE_INFINITY => return Ok(Self::PositiveInfinity),
            NEGATIVE_INFINITY => return Ok(Self::NegativeInfinity),
            POSITIVE => Sign::Positive,
            NEGATIVE => Sign::Negative,
            _ => return Err(WRONG),
        };
        let (mut digits, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() || digits.len() != usize::from(u16::from_be_bytes(count)) {
            return Err(WRONG);
        }
        let mut weight = i32::from(i16::from_be_bytes(weight));
        while let [[0, 0], tail @ ..] = digits {
            digits = tail;
            weight -= 1;
        }
        while let [head @ .., [0, 0]] = digits {
            digits = head;
        }
        Ok(Self::Finite { sign, weight, digits })
    }

    fn rank(&self) -> u8 {
        match self {
            Self::NegativeInfinity => 0,
            Self::Finite { .. } => 1,
            Self::PositiveInfinity => 2,
            Self::Nan => 3,
        }
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (
                Self::Finite { sign, weight, digits },
                Self::Finite { sign: other_sign, weight: other_weight, digits: other_digits },
            ) => {
                let (mine, theirs) = (signum(*sign, digits), signum(*other_sign, other_digits));
                // Big-endian digits compare bytewise; a prefix is the smaller one.
                let magnitude = || weight.cmp(other_weight).then_with(|| digits.cmp(other_digits));
                mine.cmp(&theirs).then_with(|| match mine {
                    0 => Ordering::Equal,
                    1 => magnitude(),
                    _ => magnitude().reverse(),
                })
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

fn signum(sign: Sign, digits: &[[u8; 2]]) -> i8 {
    match sign {
        _ if digits.is_empty() => 0,
        Sign::Positive => 1,
        Sign::Negative => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(weight: i16, sign: u16, digits: &[i16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u16::try_from(digits.len()).expect("few").to_be_bytes());
        bytes.extend(weight.to_be_bytes());
        bytes.extend(sign.to_be_bytes());
        bytes.extend(2_u16.to_be_bytes());
        digits.iter().for_each(|digit| bytes.extend(digit.to_be_bytes()));
        bytes
    }

    #[test]
    fn values_sort_as_postgresql_sorts_them() {
        let ascending = [
            encode(0, NEGATIVE_INFINITY, &[]),
            encode(1, NEGATIVE, &[1, 0]),    // -10000
            encode(0, NEGATIVE, &[9999, 5]), // -9999.0005
            encode(0, NEGATIVE, &[9999]),    // -9999
            encode(-1, NEGATIVE, &[1]),      // -0.0001
            encode(0, POSITIVE, &[]),        // 0
            encode(-2, POSITIVE, &[5000]),   // 0.00005
            encode(-1, POSITIVE, &[1]),      // 0.0001
            encode(0, POSITIVE, &[1]),       // 1
            encode(0, POSITIVE, &[1, 1]),    // 1.0001
            encode(0, POSITIVE, &[2]),       // 2
            encode(20, POSITIVE, &[1]),      // beyond f64's integers
            encode(20, POSITIVE, &[1, 0, 0, 0, 0, 1]),
            encode(0, POSITIVE_INFINITY, &[]),
            encode(0, NAN, &[]),
        ];
        let parsed: Vec<_> = ascending.iter().map(|bytes| Numeric::parse(bytes).expect("valid")).collect();
        for (i, a) in parsed.iter().enumerate() {
            for (j, b) in parsed.iter().enumerate() {
                assert_eq!(a.compare(b), i.cmp(&j), "{a:?} against {b:?}");
            }
        }
    }

    #[test]
    fn zeros_that_carry_no_value_do_not_count() {
        let (plain, padded) = (encode(0, POSITIVE, &[7]), encode(1, POSITIVE, &[0, 7, 0]));
        let compared = Numeric::parse(&plain).expect("valid").compare(&Numeric::parse(&padded).expect("valid"));
        assert_eq!(compared, Ordering::Equal);
        let (zero, minus_zero) = (encode(0, POSITIVE, &[]), encode(0, NEGATIVE, &[0]));
        let compared = Numeric::parse(&zero).expect("valid").compare(&Numeric::parse(&minus_zero).expect("valid"));
        assert_eq!(compared, Ordering::Equal);
    }
}
