//! Names of files and folders: which are never data, and the order of classes.

use std::cmp::Ordering;

use super::ClassOrder;

/// Files of labels as StyleGAN and Hugging Face's image folders have them, in the order that they are looked for.
pub const LABEL_FILES: [&str; 3] = ["dataset.json", "metadata.csv", "metadata.jsonl"];

/// Whether an entry of this name is never data: a hidden file, or one that macOS, Windows or a network drive creates.
pub fn is_system(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "__MACOSX",
        "Thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "@eaDir",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
    ];
    name.starts_with('.') || NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The order that names of classes are sorted in: by value if `order` is natural and all names are whole numbers, else as text.
pub fn class_order<'a>(
    order: ClassOrder,
    names: impl IntoIterator<Item = &'a str>,
) -> fn(&str, &str) -> Ordering {
    let is_number = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    let mut names = names.into_iter().peekable();
    let is_natural = order == ClassOrder::Natural && names.peek().is_some() && names.all(is_number);
    if is_natural {
        |a, b| {
            let digits = |name: &str| name.trim_start_matches('0').len();
            let [x, y] = [a, b].map(|name| name.trim_start_matches('0'));
            (digits(a), x, a).cmp(&(digits(b), y, b))
        }
    } else {
        |a, b| a.cmp(b)
    }
}

/// The class of each picture by its name with `/` between folders: folders that all of them share are dropped, and the first one after
/// that is the class.
pub fn class_of_each<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<Option<&'a str>> {
    let folders = |name: &'a str| {
        let mut parts: Vec<&str> = name.split('/').collect();
        parts.pop();
        parts
    };
    let shared = names.clone().map(folders).reduce(|a, b| {
        let both = a.into_iter().zip(b);
        both.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    });
    let n_shared = shared.map_or(0, |shared| shared.len());
    let class = |name: &'a str| {
        let inside = name.splitn(n_shared + 1, '/').last()?;
        inside.split_once('/').map(|(class, _)| class)
    };
    names.map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted<'a>(order: ClassOrder, names: &[&'a str]) -> Vec<&'a str> {
        let mut sorted = names.to_vec();
        let compare = class_order(order, names.iter().copied());
        sorted.sort_by(|a, b| compare(a, b));
        sorted
    }

    #[test]
    fn whole_numbers_are_in_their_own_order_and_other_names_in_that_of_text() {
        use ClassOrder::{Natural, Text};
        let numbers = ["10", "2", "0", "01", "1", "100000000000000000000000"];
        let expected = ["0", "01", "1", "2", "10", "100000000000000000000000"];
        assert_eq!(sorted(Natural, &numbers), expected);
        assert_eq!(sorted(Text, &["10", "2", "1"]), ["1", "10", "2"]);
        assert_eq!(sorted(Natural, &["10", "2", "x"]), ["10", "2", "x"]);
        assert_eq!(sorted(Natural, &["10", "-2"]), ["-2", "10"]);
    }

    #[test]
    fn what_systems_leave_behind_is_not_data() {
        for name in [
            "__MACOSX",
            ".DS_Store",
            "thumbs.db",
            "Desktop.ini",
            "@eaDir",
            "._a.png",
        ] {
            assert!(is_system(name), "{name}");
        }
        assert!(!is_system("cat") && !is_system("runs"));
    }
}
