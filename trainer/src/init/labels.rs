//! Rows of a label table for other classes.

use crate::data::classes;
use sit_engine::text::count;

/// The classes of a label table.
pub struct Classes<'a> {
    /// Their number, without the null class.
    pub n: usize,
    /// Names of the first of them; none when they are not known.
    pub names: &'a [String],
}

/// The row of the table of `old` that each row of the table of `new` starts from, `None` for a new class; the null class comes last
/// in both. Also returns a message for the user.
pub fn rows(old: &Classes, new: &Classes) -> (Vec<Option<usize>>, String) {
    let known = !old.names.is_empty() && !new.names.is_empty();
    let (mut rows, text): (Vec<Option<usize>>, String) = if !known && old.n == new.n {
        (
            (0..new.n).map(Some).collect(),
            format!(
                "kept by number for {}, as the names are not known",
                count(old.n, "class")
            ),
        )
    } else if !known {
        (
            vec![None; new.n],
            format!(
                "new, for {}, not {}; the null class is kept",
                count(new.n, "class"),
                old.n
            ),
        )
    } else if old.n == new.n && old.names == new.names {
        (
            (0..new.n).map(Some).collect(),
            format!("kept, for the same {}", count(new.n, "class")),
        )
    } else {
        by_name(old, new)
    };
    rows.push(Some(old.n));
    (rows, text)
}

fn by_name(old: &Classes, new: &Classes) -> (Vec<Option<usize>>, String) {
    let row = |i: usize| {
        let name = new.names.get(i)?;
        old.names.iter().position(|old| old == name)
    };
    let rows: Vec<Option<usize>> = (0..new.n).map(row).collect();
    let named = |kept: bool| {
        let of: Vec<usize> = (0..new.n).filter(|&i| rows[i].is_some() == kept).collect();
        classes::list(of.into_iter().map(|i| classes::name(new.names, i)))
    };
    let text = match rows.iter().flatten().count() {
        0 => format!(
            "new, for {}; it was for {}; the null class is kept",
            named(false),
            classes::list((0..old.n).map(|i| classes::name(old.names, i)))
        ),
        n if n == rows.len() => format!("kept by name, for {}", named(true)),
        _ => format!("kept by name for {}; new for {}", named(true), named(false)),
    };
    (rows, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: (usize, &[&str]), new: (usize, &[&str]), want: &[Option<usize>], said: &str) {
        let own = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let (old_names, new_names) = (own(old.1), own(new.1));
        let (rows, text) = rows(
            &Classes {
                n: old.0,
                names: &old_names,
            },
            &Classes {
                n: new.0,
                names: &new_names,
            },
        );
        assert_eq!(rows, want, "{text}");
        assert!(text.contains(said), "{text}");
    }

    #[test]
    fn rows_follow_names_and_the_null_class_stays() {
        let animals: &[&str] = &["cat", "dog", "owl"];
        check(
            (3, animals),
            (3, animals),
            &[Some(0), Some(1), Some(2), Some(3)],
            "kept, for the same 3 classes",
        );
        check(
            (3, animals),
            (4, &["ant", "cat", "fox", "owl"]),
            &[None, Some(0), None, Some(2), Some(3)],
            "kept by name for cat, owl; new for ant, fox",
        );
        check(
            (3, animals),
            (2, &["owl", "cat"]),
            &[Some(2), Some(0), Some(3)],
            "kept by name, for owl, cat",
        );
        check(
            (3, animals),
            (3, &["ant", "bee", "fox"]),
            &[None, None, None, Some(3)],
            "new, for ant, bee, fox; it was for cat, dog, owl",
        );
        // A table may have more rows than there are names.
        check(
            (3, &["cat"]),
            (2, &["cat"]),
            &[Some(0), None, Some(3)],
            "new for",
        );
    }

    #[test]
    fn without_names_the_number_decides() {
        check(
            (2, &[]),
            (2, &["cat", "dog"]),
            &[Some(0), Some(1), Some(2)],
            "kept by number",
        );
        check(
            (2, &["cat", "dog"]),
            (2, &[]),
            &[Some(0), Some(1), Some(2)],
            "kept by number",
        );
        check(
            (2, &[]),
            (3, &["cat", "dog", "owl"]),
            &[None, None, None, Some(2)],
            "new, for 3 classes, not 2",
        );
    }
}
