//! How deep TOML nests.

/// Whether TOML may nest deeper than the stack holds: the parser's own limits hold for each key and each bracket alone, and
/// keys of dots in tables in tables multiply them. No level is without one of these characters outside of quotes; names of classes
/// may hold any number of them inside.
pub fn nests_too_deep(text: &str) -> bool {
    const MOST: usize = 1000;
    text.lines().map(count_levels).sum::<usize>() > MOST
}

/// The characters of a line that may begin a level. A string ends with the line at the latest: what follows the first line of a longer
/// one is counted, too.
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

/// What follows a string, given what follows its first quote.
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
            // Up to two quotes may stand before three that close.
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
