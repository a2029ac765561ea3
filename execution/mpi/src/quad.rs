//! Arithmetic on `long double` as wasm32 has it: IEEE 754 binary128, rounded to nearest, ties to
//! even. Numbers are their bits.

const SIGN: u128 = 1 << 127;
const FRACTION_BITS: u32 = 112;
const FRACTION: u128 = (1 << FRACTION_BITS) - 1;
const INFINITY: u128 = 0x7fff << FRACTION_BITS;
const NAN: u128 = INFINITY | 1 << (FRACTION_BITS - 1);
const BIAS: i32 = 16383;
/// Bits below the last one that is kept while a result is not rounded yet.
const GUARD_BITS: u32 = 3;

/// The exponent and the significand of a finite number.
fn parts(bits: u128) -> (i32, u128) {
    let exponent = (bits >> FRACTION_BITS & 0x7fff) as i32;
    match exponent {
        0 => (1, bits & FRACTION),
        _ => (exponent, bits & FRACTION | 1 << FRACTION_BITS),
    }
}

/// Shifts to the right; the last bit tells whether anything was lost.
fn shift_right(bits: u128, by: u32) -> u128 {
    match by {
        0 => bits,
        1..=127 => bits >> by | u128::from(bits << (128 - by) != 0),
        _ => u128::from(bits != 0),
    }
}

/// Rounds a significand with guard bits, which may stand anywhere below the highest bit.
fn round(sign: u128, mut exponent: i32, mut significand: u128) -> u128 {
    if significand == 0 {
        return sign;
    }
    let place = 127 - significand.leading_zeros() as i32;
    let excess = place - (FRACTION_BITS + GUARD_BITS) as i32;
    exponent += excess;
    significand = match excess {
        0.. => shift_right(significand, excess as u32),
        _ => significand << -excess,
    };
    if exponent >= 0x7fff {
        return sign | INFINITY;
    }
    if exponent <= 0 {
        significand = shift_right(significand, (1 - exponent) as u32);
        // It has no leading bit then, unless rounding brings it back.
        exponent = 1;
    }
    let rest = significand & ((1 << GUARD_BITS) - 1);
    let kept = significand >> GUARD_BITS;
    let half = 1 << (GUARD_BITS - 1);
    let up = rest > half || rest == half && kept & 1 == 1;
    // The leading bit adds itself to the exponent, as a carry does.
    sign | (((exponent as u128 - 1) << FRACTION_BITS) + kept + u128::from(up))
}

/// `left + right`.
pub(crate) fn add(left: u128, right: u128) -> u128 {
    let (left_size, right_size) = (left & !SIGN, right & !SIGN);
    if left_size > INFINITY || right_size > INFINITY {
        return NAN;
    }
    if left_size == INFINITY || right_size == INFINITY {
        let opposite = left_size == right_size && left != right;
        return if opposite {
            NAN
        } else if left_size == INFINITY {
            left
        } else {
            right
        };
    }
    let (large, small) = if left_size >= right_size { (left, right) } else { (right, left) };
    let ((exponent, large_part), (lower, small_part)) = (parts(large), parts(small));
    let large_part = large_part << GUARD_BITS;
    let small_part = shift_right(small_part << GUARD_BITS, (exponent - lower) as u32);
    let same_sign = (left ^ right) & SIGN == 0;
    let sum = if same_sign { large_part + small_part } else { large_part - small_part };
    let sign = if sum == 0 && !same_sign { 0 } else { large & SIGN };
    round(sign, exponent, sum)
}

/// `left - right`.
fn subtract(left: u128, right: u128) -> u128 {
    add(left, right ^ SIGN)
}

/// The product of two significands, without its lowest 109 bits but for whether there are any.
fn product(left: u128, right: u128) -> u128 {
    let split = |value: u128| (value >> 64, value & u128::from(u64::MAX));
    let ((left_high, left_low), (right_high, right_low)) = (split(left), split(right));
    let (carry, lowest) = split(left_low * right_low);
    let ((one_high, one_low), (other_high, other_low)) =
        (split(left_low * right_high), split(left_high * right_low));
    let (carry, middle) = split(carry + one_low + other_low);
    let high = left_high * right_high + one_high + other_high + carry;
    let low = middle << 64 | lowest;
    high << 19 | shift_right(low, 109)
}

/// `left * right`.
pub(crate) fn multiply(left: u128, right: u128) -> u128 {
    let (left_size, right_size) = (left & !SIGN, right & !SIGN);
    let sign = (left ^ right) & SIGN;
    let undefined = left_size.max(right_size) == INFINITY && left_size.min(right_size) == 0;
    if left_size > INFINITY || right_size > INFINITY || undefined {
        return NAN;
    }
    if left_size == INFINITY || right_size == INFINITY {
        return sign | INFINITY;
    }
    if left_size == 0 || right_size == 0 {
        return sign;
    }
    let normal = |bits: u128| {
        let (exponent, part) = parts(bits);
        let shift = part.leading_zeros() - (127 - FRACTION_BITS);
        (exponent - shift as i32, part << shift)
    };
    let ((left_exponent, left), (right_exponent, right)) = (normal(left), normal(right));
    round(sign, left_exponent + right_exponent - BIAS, product(left, right))
}

/// The sum of two complex numbers.
pub(crate) fn add_complex([a, b]: [u128; 2], [c, d]: [u128; 2]) -> [u128; 2] {
    [add(a, c), add(b, d)]
}

/// Their product.
pub(crate) fn multiply_complex([a, b]: [u128; 2], [c, d]: [u128; 2]) -> [u128; 2] {
    let real = subtract(multiply(a, c), multiply(b, d));
    [real, add(multiply(a, d), multiply(b, c))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A number of 64 bits, which binary128 holds exactly.
    fn whole(value: i64) -> u128 {
        let sign = if value < 0 { SIGN } else { 0 };
        let exponent = BIAS + (FRACTION_BITS + GUARD_BITS) as i32;
        round(sign, exponent, u128::from(value.unsigned_abs()))
    }

    /// Bits of a double as those of the same number here.
    fn of_double(value: f64) -> u128 {
        let (bits, shift) = (value.to_bits(), FRACTION_BITS - 52);
        let sign = u128::from(bits >> 63) << 127;
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        match exponent {
            0x7ff => sign | INFINITY | u128::from(fraction) << shift,
            0 => round(sign, BIAS - 1022, u128::from(fraction) << (shift + GUARD_BITS)),
            _ => {
                let exponent = (exponent - 1023 + BIAS) as u128;
                sign | exponent << FRACTION_BITS | u128::from(fraction) << shift
            }
        }
    }

    #[test]
    fn special_numbers_behave_as_the_standard_says() {
        let one = whole(1);
        assert_eq!(one, 0x3fff << FRACTION_BITS);
        assert_eq!(add(one, one ^ SIGN), 0);
        assert_eq!(add(SIGN, SIGN), SIGN);
        assert_eq!(add(INFINITY, one), INFINITY);
        assert_eq!(add(INFINITY, INFINITY | SIGN), NAN);
        assert_eq!(multiply(INFINITY, 0), NAN);
        assert_eq!(multiply(INFINITY, one ^ SIGN), INFINITY | SIGN);
        assert_eq!(add(NAN, one), NAN);
        let largest = INFINITY - 1;
        assert_eq!(add(largest, largest), INFINITY);
        assert_eq!(multiply(largest, whole(2)), INFINITY);
        // The smallest number, halved and three quarters of it.
        let half = of_double(0.5);
        assert_eq!(multiply(1, half), 0);
        assert_eq!(multiply(1, of_double(0.75)), 1);
        assert_eq!(multiply(3, half), 2);
        // Subnormal numbers become normal ones.
        assert_eq!(add(FRACTION, 1), 1 << FRACTION_BITS);
        assert_eq!(multiply(1 << FRACTION_BITS, half), 1 << (FRACTION_BITS - 1));
    }

    #[test]
    fn halves_are_rounded_to_even() {
        let one = whole(1);
        let last = (0x3fff - 112) << FRACTION_BITS;
        let half = last - (1 << FRACTION_BITS);
        assert_eq!(add(one, half), one);
        assert_eq!(add(one + 1, half), one + 2);
        assert_eq!(add(one, half + 1), one + 1);
        assert_eq!(subtract(one, half), one - 1);
        assert_eq!(multiply(one + 1, one + 1), one + 2);
    }

    proptest! {
        #[test]
        fn whole_numbers_add_and_multiply_exactly(a: i64, b: i64, c: i32, d: i32) {
            let (half_a, half_b) = (a / 2, b / 2);
            prop_assert_eq!(add(whole(half_a), whole(half_b)), whole(half_a + half_b));
            let product = i64::from(c) * i64::from(d);
            let expected = if product == 0 && (c < 0) != (d < 0) { SIGN } else { whole(product) };
            prop_assert_eq!(multiply(whole(i64::from(c)), whole(i64::from(d))), expected);
        }

        #[test]
        fn a_sum_less_one_of_its_parts_is_the_other(a in -1e15..1e15, b in -1e15..1e15) {
            // Doubles of such sizes have sums that are exact here.
            prop_assume!(a == 0.0 || f64::abs(a) > 1e-3);
            prop_assume!(b == 0.0 || f64::abs(b) > 1e-3);
            let (a, b) = (of_double(a), of_double(b));
            let sum = add(a, b);
            prop_assert_eq!(sum, add(b, a));
            prop_assert_eq!(subtract(subtract(sum, b), a) & !SIGN, 0);
        }

        #[test]
        fn products_are_those_of_whole_numbers(a: u64, b: u64) {
            let (a, b) = (a >> 11 | 1, b >> 11 | 1);
            let exact = u128::from(a) * u128::from(b);
            let (a, b) = (whole(a as i64), whole(b as i64));
            let bits = 128 - exact.leading_zeros();
            let fraction = exact << (128 - bits) << 1 >> 16;
            let exponent = (BIAS as u128 + u128::from(bits) - 1) << FRACTION_BITS;
            prop_assert_eq!(multiply(a, b), exponent | fraction);
        }
    }
}
