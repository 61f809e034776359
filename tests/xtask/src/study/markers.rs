//! The part of a file that a chore writes.

use anyhow::{Result, bail};

/// The file with `content` between the two lines that mark the part `name`; at its end, if it has no such part.
///
/// # Errors
/// If the file has the first line only.
pub fn replace(file: &str, name: &str, content: &str) -> Result<String> {
    let begin = format!("<!-- written by cargo xtask {name} -->\n");
    let end = format!("<!-- end of cargo xtask {name} -->\n");
    let Some((before, rest)) = file.split_once(&begin) else {
        return Ok(format!(
            "{}\n\n{begin}{}\n{end}",
            file.trim_end(),
            content.trim_end()
        ));
    };
    let Some((_, after)) = rest.split_once(&end) else {
        bail!("no line {:?} after {:?}", end.trim(), begin.trim());
    };
    Ok(format!(
        "{before}{begin}{}\n{end}{after}",
        content.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn only_the_part_changes() {
        let file = "a\n<!-- written by cargo xtask x -->\nold\n<!-- end of cargo xtask x -->\nb\n";
        let new = replace(file, "x", "new\n").unwrap();
        assert_eq!(new, file.replace("old", "new"));
        assert_eq!(replace(&new, "x", "new").unwrap(), new);
    }

    #[test]
    fn a_file_without_the_part_gets_it_at_its_end() {
        let new = replace("a\n", "x", "new").unwrap();
        assert_eq!(
            new,
            "a\n\n<!-- written by cargo xtask x -->\nnew\n<!-- end of cargo xtask x -->\n"
        );
        let error = replace("<!-- written by cargo xtask x -->\n", "x", "new");
        assert!(error.unwrap_err().to_string().contains("end of cargo"));
    }
}
