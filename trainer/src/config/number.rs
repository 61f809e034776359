//! Numbers as people write them.

/// A number such as `1e9`, `.0001`, `1.e-4` or `+2`. Also `inf` and `nan`, which the range check refuses later.
pub fn float(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// A whole number, also in the form `1e5`. It saturates at the range of i128.
pub fn whole(text: &str) -> Option<i128> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| whole_float(text.parse().ok()?))
}

/// The value of a float that is whole.
pub fn whole_float(x: f64) -> Option<i128> {
    (x.fract() == 0.0).then_some(x as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_other_languages() {
        for text in [".0001", "1.e-4", "1e-4", "1E-04", " +0.0001 "] {
            assert_eq!(float(text), Some(1e-4), "{text}");
        }
        for text in ["", "1,5", "1e", "0x10", "one", "5%"] {
            assert_eq!(float(text), None, "{text}");
            assert_eq!(whole(text), None, "{text}");
        }
        for (text, expected) in [
            ("1e5", 100_000),
            ("100000.0", 100_000),
            ("-3", -3),
            ("18446744073709551615", i128::from(u64::MAX)),
            ("99999999999999999999", 99_999_999_999_999_999_999),
            ("1e300", i128::MAX),
        ] {
            assert_eq!(whole(text), Some(expected), "{text}");
        }
        for text in ["1.5", "inf", "nan", "1e-3"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
