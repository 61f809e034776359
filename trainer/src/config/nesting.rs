//! How deep TOML nests.

/// Whether TOML may nest deeper than the stack allows. The parser limits keys and brackets separately, but dotted keys in nested
/// tables multiply these limits. Every level begins with one of the counted characters outside of quotes. Inside of quotes, as in
/// class names, these characters do not count.
pub fn nests_too_deep(text: &str) -> bool {
    const MOST: usize = 1000;
    text.lines().map(count_levels).sum::<usize>() > MOST
}

/// Counts the characters of a line that may begin a level. A string is assumed to end with its line, so the later lines of a
/// multi-line string are counted, too.
fn count_levels(mut line: &str) -> usize {
    let mut n = 0;
    while let Some(at) = line.find(['.', '{', '[', '"', '\'']) {
        let (quote, rest) = (line.as_bytes()[at] as char, &line[at + 1..]);
        line = match quote {
            '"' | '\'' => after_string(rest, quote),
            _ => {
                n += 1;
                rest
            }
        };
    }
    n
}

/// The text after a string, given the text after its opening quote.
fn after_string(mut rest: &str, quote: char) -> &str {
    let three = [quote; 3].iter().collect::<String>();
    let close = match rest.starts_with(&three[1..]) {
        true => &three[..],
        false => &three[..1],
    };
    rest = &rest[close.len() - 1..];
    loop {
        if rest.starts_with(close) {
            rest = &rest[close.len()..];
            // Up to two quotes may precede the three that close a string.
            let more = if close.len() == 3 { 2 } else { 0 };
            let n = rest.chars().take(more).take_while(|&c| c == quote).count();
            return &rest[n..];
        }
        let mut chars = rest.chars();
        match chars.next() {
            None => return "",
            Some('\\') if quote == '"' => _ = chars.next(),
            Some(_) => {}
        }
        rest = chars.as_str();
    }
}
