//! Values of flags that are more than a word or a number.

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
    fn intervals_of_time() {
        assert_eq!(parse_interval("0.1..0.8"), Ok([0.1, 0.8]));
        assert!(parse_interval("0.1-0.8").is_err() && parse_interval("a..b").is_err());
    }
}
