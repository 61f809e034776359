//! The value of `--classes`: classes by number or by name.

use crate::config::suggestion;
use sit_engine::text::{count, shown};

/// The most classes that one list may name.
const MOST: usize = 1_000_000;

/// The classes of a model, to look up those that `--classes` names.
pub struct Known<'a> {
    /// The number of classes; the null class is the number `n`.
    pub n: usize,
    /// Their names, as many as are known.
    pub names: &'a [String],
}

impl Known<'_> {
    /// Reads a list such as `0-9`, `207,360` or `cat,dog`; `none` is the null class.
    ///
    /// A name takes precedence over a number: if a model's classes are called 1 to 26, `1` is the first of them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(&self, text: &str) -> Result<Vec<u32>, String> {
        let names = &self.names[..self.names.len().min(self.n)];
        let most_commas = names.iter().map(|name| name.matches(',').count()).max();
        let parts: Vec<&str> = text.split(',').collect();
        let (mut classes, mut at) = (Vec::new(), 0);
        while at < parts.len() {
            // A name may hold commas.
            let longest = parts.len().min(at + 1 + most_commas.unwrap_or(0));
            let named = (at + 1..=longest)
                .rev()
                .find_map(|end| Some((end, self.named(parts[at..end].join(",").trim())?)));
            match named {
                Some((end, class)) => {
                    classes.push(class);
                    at = end;
                }
                None => {
                    self.part(parts[at].trim(), &mut classes)?;
                    at += 1;
                }
            }
            if classes.len() > MOST {
                return Err(format!(
                    "{} and more: expected at most {MOST} classes",
                    parts[0]
                ));
            }
        }
        Ok(classes)
    }

    /// The class called `name`, ignoring case if that is unambiguous; the null class for `none`.
    fn named(&self, name: &str) -> Option<u32> {
        let names = || self.names.iter().take(self.n).zip(0..);
        if let Some((_, class)) = names().find(|(known, _)| *known == name) {
            return Some(class);
        }
        let lower = name.to_lowercase();
        let mut alike = names().filter(|(known, _)| known.to_lowercase() == lower);
        match (alike.next(), alike.next()) {
            (Some((_, class)), None) => Some(class),
            (None, _) if lower == "none" => Some(self.n as u32),
            _ => None,
        }
    }

    /// A class by name or by number.
    fn class(&self, text: &str) -> Result<u32, String> {
        if let Some(class) = self.named(text) {
            return Ok(class);
        }
        let names = &self.names[..self.names.len().min(self.n)];
        let Ok(number) = text.parse::<u32>() else {
            let unknown = format!("\"{}\" is not a class", shown(text));
            return Err(match names {
                [] => format!("{unknown}; expected a list like 0-9 or 207,360"),
                names => format!("{unknown}, {}", suggestion(text, &first(names), "")),
            });
        };
        // If all names are numbers, a number must be a name or the null class.
        let are_numbers =
            names.len() == self.n && names.iter().all(|name| name.parse::<u32>().is_ok());
        if number as usize == self.n || (number as usize) < self.n && !are_numbers {
            return Ok(number);
        }
        let known = match are_numbers {
            true => format!("called {}", first(names).join(", ")),
            false => format!("0 to {}", self.n.saturating_sub(1)),
        };
        Err(format!(
            "{number}: this model has {}, {known}, and the word none for no class",
            count(self.n, "class")
        ))
    }

    /// A class, or a range of them.
    fn part(&self, text: &str, classes: &mut Vec<u32>) -> Result<(), String> {
        let Some((first, last)) = text
            .split_once('-')
            .filter(|_| text.parse::<u32>().is_err())
        else {
            classes.push(self.class(text)?);
            return Ok(());
        };
        let (first, last) = match (self.class(first.trim()), self.class(last.trim())) {
            (Ok(first), Ok(last)) => (first, last),
            // The text may be an unknown name that contains a hyphen.
            (Err(_), Err(_)) => return self.class(text).map(|class| classes.push(class)),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        if first > last {
            return Err(format!(
                "{text:?}: expected the first class before the last"
            ));
        }
        classes.extend(first..=last);
        Ok(())
    }
}

/// The first names, for a message.
fn first(names: &[String]) -> Vec<String> {
    let mut first: Vec<String> = names.iter().take(20).map(shown).collect();
    if names.len() > first.len() {
        first.push("...".to_owned());
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &[&str], n: usize, text: &str) -> Result<Vec<u32>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Known { n, names: &names }.parse(text)
    }

    #[test]
    fn numbers_and_ranges() {
        let list = |text| parse(&[], 400, text);
        assert_eq!(list("0-3"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(list("207, 360,1-2"), Ok(vec![207, 360, 1, 2]));
        assert_eq!(list("400,none"), Ok(vec![400, 400]));
        for bad in ["", "a", "3-1", "1-", "0-4000000000", "401", "-1"] {
            assert!(list(bad).is_err(), "{bad}");
        }
        let many = vec!["0-399"; 3000].join(",");
        assert!(list(&many).unwrap_err().contains("at most 1000000"));
    }

    #[test]
    fn names_in_any_case_with_commas_and_hyphens() {
        let names = ["T-shirt/top", "cat", "Dog", "dog, small", "dog"];
        let list = |text| parse(&names, 6, text);
        assert_eq!(
            list("CAT,T-shirt/top, dog ,Dog,none"),
            Ok(vec![1, 0, 4, 2, 6])
        );
        assert_eq!(list("dog, small,5"), Ok(vec![3, 5]));
        assert_eq!(list("cat-dog"), Ok(vec![1, 2, 3, 4]));
        assert_eq!(
            list("DOG").unwrap_err(),
            "\"DOG\" is not a class, did you mean Dog?"
        );
        assert_eq!(
            list("catt").unwrap_err(),
            "\"catt\" is not a class, did you mean cat?"
        );
        let text = list("T-shirt").unwrap_err();
        assert!(text.ends_with("did you mean T-shirt/top?"), "{text}");
        assert_eq!(
            list("7").unwrap_err(),
            "7: this model has 6 classes, 0 to 5, and the word none for no class"
        );
    }

    /// If classes are called by numbers, a number is a name, not an index.
    #[test]
    fn a_name_comes_before_a_number() {
        let letters: Vec<String> = (1..=26).map(|i| i.to_string()).collect();
        let letters: Vec<&str> = letters.iter().map(|name| &name[..]).collect();
        assert_eq!(
            parse(&letters, 26, "1,26,25-26,none"),
            Ok(vec![0, 25, 24, 25, 26])
        );
        let text = parse(&letters, 26, "0").unwrap_err();
        assert!(
            text.contains("called 1, 2, 3") && text.contains("..."),
            "{text}"
        );
        // Sorted as text.
        let sorted = ["0", "1", "10", "2"];
        assert_eq!(parse(&sorted, 4, "10,2"), Ok(vec![2, 3]));
        assert_eq!(parse(&sorted, 4, "4"), Ok(vec![4]));
    }
}
