//! Values of flags that are more than a word or a number.

/// A list of classes.
#[derive(Debug, Clone)]
pub struct Classes(pub Vec<u32>);

/// Reads a list such as `0-9` or `207,360`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_classes(text: &str) -> Result<Classes, String> {
    let number = |s: &str| {
        s.trim()
            .parse::<u32>()
            .map_err(|_| format!("{s:?} is not a class; expected a list like 0-9 or 207,360"))
    };
    let mut classes = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last || last - first >= 1_000_000 {
                    return Err(format!(
                        "{part:?}: expected the first class before the last"
                    ));
                }
                classes.extend(first..=last);
            }
            None => classes.push(number(part)?),
        }
    }
    Ok(Classes(classes))
}

/// Reads two times such as `0.1..0.8`.
///
/// # Errors
/// What is wrong with them.
pub fn parse_interval(text: &str) -> Result<[f64; 2], String> {
    let refuse = || format!("{text:?}: expected two times like 0.1..0.8");
    let (lo, hi) = text.split_once("..").ok_or_else(refuse)?;
    match (lo.trim().parse(), hi.trim().parse()) {
        (Ok(lo), Ok(hi)) => Ok([lo, hi]),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_classes() {
        let list = |text| parse_classes(text).map(|Classes(c)| c);
        assert_eq!(list("0-3"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(list("207, 360,1-2"), Ok(vec![207, 360, 1, 2]));
        for bad in ["", "a", "3-1", "1-", "0-4000000000"] {
            assert!(list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn intervals_of_time() {
        assert_eq!(parse_interval("0.1..0.8"), Ok([0.1, 0.8]));
        assert!(parse_interval("0.1-0.8").is_err() && parse_interval("a..b").is_err());
    }
}
