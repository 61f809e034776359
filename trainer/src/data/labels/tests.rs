use super::*;

/// The labels of `a.png` and `deep/b.png`, and the classes' names.
fn labels(
    name: &str,
    content: &str,
    skip_bad: bool,
) -> Result<Option<(Vec<u32>, String, bool)>, String> {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(name), content).unwrap();
    let read = Labels::read(root.path()).map_err(|error| error.to_string());
    let short = |error: String| error.replace(&format!("{}/", root.path().display()), "");
    let Some(labels) = read.map_err(short)? else {
        return Ok(None);
    };
    let mut files = vec![
        Item::file(root.path().join("a.png"), 0),
        Item::file(root.path().join("deep/b.png"), 0),
    ];
    let done = labels.apply(root.path(), &mut files, skip_bad);
    let done = done.map_err(|error| short(error.to_string()))?;
    let classes = files.iter().map(|file| file.label).collect();
    Ok(Some((classes, done.names.join(" "), done.are_numbers)))
}

#[test]
fn each_format_gives_each_image_its_class() {
    let numbers = Ok(Some((vec![2, 0], "0 1 2".to_owned(), true)));
    let texts = Ok(Some((vec![1, 0], "cat dog".to_owned(), false)));
    let cases = [
        (
            "dataset.json",
            r#"{"labels": [["a.png", 2], ["deep/b.png", 0]]}"#,
            &numbers,
        ),
        (
            "dataset.json",
            r#"{"labels": {"a.png": 2, "deep\\b.png": 0}, "more": 1}"#,
            &numbers,
        ),
        (
            "metadata.csv",
            "file_name,label\na.png,2\ndeep/b.png,0\n",
            &numbers,
        ),
        (
            "metadata.csv",
            "\u{feff}label,text,file_name\r\ndog,\"a, b\",a.png\r\n\"cat\",,./deep/b.png\r\n",
            &texts,
        ),
        (
            "metadata.jsonl",
            "{\"file_name\": \"a.png\", \"label\": \"dog\"}\n\n{\"file_name\": \"deep/b.png\", \"label\": \"cat\"}\n",
            &texts,
        ),
    ];
    for (name, content, expected) in cases {
        assert_eq!(labels(name, content, false), *expected, "{content}");
    }
}

#[test]
fn files_without_labels_change_nothing() {
    for (name, content) in [
        ("dataset.json", r#"{"labels": null}"#),
        ("dataset.json", r#"{"other": 1}"#),
        ("metadata.csv", "file_name,text\na.png,a cat\n"),
        (
            "metadata.jsonl",
            "{\"file_name\": \"a.png\", \"text\": \"a cat\"}\n",
        ),
        ("labels.csv", "a.png,1\n"),
    ] {
        assert_eq!(labels(name, content, false), Ok(None), "{content}");
    }
}

#[test]
fn bad_labels_are_named() {
    let cases = [
        ("dataset.json", "{", "dataset.json: got other JSON ("),
        (
            "dataset.json",
            r#"{"labels": [["a.png", [0.5, 1]]]}"#,
            "a whole number or a name",
        ),
        (
            "dataset.json",
            r#"{"labels": [["a.png", -1]]}"#,
            "a whole number or a name",
        ),
        (
            "dataset.json",
            r#"{"labels": [["a.png", 4000000000], ["deep/b.png", 0]]}"#,
            "the label 4000000000",
        ),
        (
            "metadata.csv",
            "name,label\na.png,1\n",
            "got the columns name, label, expected a column file_name",
        ),
        (
            "metadata.csv",
            "file_name,label\na.png\n",
            "a row that cannot be read",
        ),
        (
            "metadata.csv",
            "file_name,label\na.png,1\n",
            "no label for 1 of 2 images, such as deep/b.png",
        ),
        (
            "metadata.jsonl",
            "{\"file_name\": \"a.png\", \"label\": 0}\n{}\n",
            "line 2: no label, other lines have one",
        ),
        // An empty cell is no class of that name.
        (
            "metadata.csv",
            "file_name,label\na.png,1\ndeep/b.png,\n",
            "no label for 1 of 2 images, such as deep/b.png",
        ),
        (
            "metadata.csv",
            "file_name,label\na.png,1\ndeep/b.png,2\na.png,2\n",
            "two labels of a.png",
        ),
    ];
    for (name, content, expected) in cases {
        let text = labels(name, content, false).unwrap_err();
        assert!(text.contains(expected) && text.contains(name), "{text}");
    }
    let marked = "\u{feff}{\"labels\": [[\"a.png\", 1], [\"deep/b.png\", 0]]}";
    let marked = labels("dataset.json", marked, false);
    assert_eq!(marked, Ok(Some((vec![1, 0], "0 1".to_owned(), true))));
    let one = labels("metadata.csv", "file_name,label\na.png,1\n", true);
    assert_eq!(one, Ok(Some((vec![1], "0 1".to_owned(), true))));
}
