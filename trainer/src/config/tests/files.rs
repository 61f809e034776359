//! Files that are no configurations.

use super::*;

#[test]
fn a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    let message = |text: &str| {
        fs::write(&path, text).unwrap();
        let message = RunConfig::load(Source::File(&path), &[])
            .unwrap_err()
            .to_string();
        message
            .strip_prefix(&format!("{}: ", path.display()))
            .expect("starts with the file")
            .to_owned()
    };
    assert_eq!(
        message("[model]\ninput_size = 8"),
        "model.channels: missing"
    );
    assert_eq!(
        message("modle = 3"),
        "unknown key modle, did you mean model?"
    );
    assert!(
        message("[model\n").contains("line 1"),
        "{}",
        message("[model\n")
    );
    // Files as Windows and other programs make them.
    let model = "[model]\ninput_size = 8 # ok\nchannels = 1\npatch = 2\ndim = 32\n\tdepth = 1\nn_heads = 2\nn_classes = 0\n[data]\nkind = 'digits'\n";
    for text in [
        model.replace('\n', "\r\n"),
        format!("\u{feff}{model}"),
        format!("\u{feff}{}", model.replace('\n', "\r\n")),
    ] {
        fs::write(&path, text).unwrap();
        assert_eq!(
            dit(&RunConfig::load(Source::File(&path), &[]).unwrap()).dim,
            32
        );
    }
    let utf16 = |bytes: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
        format!("{mark}{model}")
            .encode_utf16()
            .flat_map(bytes)
            .collect()
    };
    for (bytes, expected) in [
        (utf16(u16::to_le_bytes, "\u{feff}"), "is in UTF-16"),
        (utf16(u16::to_be_bytes, "\u{feff}"), "is in UTF-16"),
        (utf16(u16::to_le_bytes, ""), "looks like UTF-16"),
        (utf16(u16::to_be_bytes, ""), "looks like UTF-16"),
        (b"PK\x03\x04\0\0\0\0".to_vec(), "is not a text file"),
        (b"a = 1\nb = '\xe9'\n".to_vec(), "line 2: is not in UTF-8"),
        (vec![b'a'; 2 << 20], "is 2097152 bytes long"),
    ] {
        fs::write(&path, bytes).unwrap();
        let message = RunConfig::load(Source::File(&path), &[])
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with(&format!("{}: {expected}", path.display())),
            "{message}"
        );
    }
    for (text, expected) in [
        (
            "[data]\nkind = \u{201c}idx\u{201d}\n",
            "\u{201c} (U+201C) is of typeset text; write \"",
        ),
        (
            "[train]\nlearning_rate = 1e\u{2212}4\n",
            "\u{2212} (U+2212) is of typeset text; write -",
        ),
        (
            "[train]\nsteps\u{a0}= 5\n",
            "(U+00A0) is of typeset text; write a plain space",
        ),
        (
            "[data]\npath = \"C:\\data\"\n",
            "write 'C:\\data' in single quotes, or C:/data",
        ),
        (
            "[train]\nlearning_rate = .0001\n",
            "write learning_rate = 0.0001",
        ),
        (
            "[train]\nlearning_rate = 1.e-4 # slow\n",
            "write learning_rate = 0.0001",
        ),
        (
            "[train]\nlearning_rate = 0,0001\n",
            "write learning_rate = 0.0001",
        ),
        ("[data]\nflip = True\n", "write flip = true"),
        ("[data]\npath = None\n", "leave path out: TOML has no None"),
        ("[data]\npath = ~/photos\n", "write path = '~/photos'"),
        ("[train]\n// fast\nsteps = 5\n", "a comment begins with #"),
        ("{\"train\": {\"steps\": 5}}\n", "this looks like JSON"),
        ("train:\n  steps: 5\n", "this looks like YAML"),
        ("---\ntrain:\n", "this looks like YAML"),
    ] {
        let message = message(text);
        let hint = message.lines().last().unwrap();
        assert!(hint.contains(expected), "{message}");
        assert!(message.contains("line "), "{message}");
    }
    assert_eq!(
        message("[data]\npath = \"C:\\temp\\new\"\n"),
        "data.path: got C:\\temp\\new; in double quotes \\t, \\n and the like are one character: write the path in single quotes, or with /"
    );
    assert!(message("[train]\nsteps = 1\nsteps = 2\n").contains("duplicate key"));
    // Deeper than any stack, in one line or in many.
    for text in [
        format!("{}a = 1", "a.".repeat(60_000)),
        format!("a = {}1{}", "[".repeat(60_000), "]".repeat(60_000)),
        format!("a = {}{}", "{a=".repeat(60_000), "}".repeat(60_000)),
        format!("a = {{{}a = 1}}", "a.".repeat(60_000)),
    ] {
        assert!(message(&text).contains("too many points and brackets"));
    }
    // The deepest nesting that is accepted.
    let (nested, mut text) = (vec!["a"; 76].join("."), "1".to_owned());
    for _ in 0..13 {
        text = format!("{{{nested} = {text}}}");
    }
    assert!(message(&format!("a = {text}")).contains("unknown key a"));

    assert!(
        RunConfig::load(Source::File(folder.path()), &[])
            .unwrap_err()
            .to_string()
            .contains("is a folder")
    );
    for (name, known) in [
        ("digits", "digits"),
        ("digts", "digits"),
        ("SiT-XL/2", "SiT-XL/2"),
    ] {
        let message = RunConfig::load(Source::File(Path::new(name)), &[])
            .unwrap_err()
            .to_string();
        assert!(
            message.ends_with(&format!("did you mean --preset {known}?")),
            "{message}"
        );
    }
    let missing = folder.path().join("missing.toml");
    let error = RunConfig::load(Source::File(&missing), &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("{}: ", missing.display())),
        "{error}"
    );
}

/// Names of classes may hold anything, in any number.
#[test]
fn a_run_of_a_thousand_classes_reads_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let mut config = preset("digits", &[]).unwrap();
    config.data.classes = (0..1500).map(|i| format!("n.{i} [\"{{'")).collect();
    fs::write(&path, config.to_toml().unwrap()).unwrap();
    let again = RunConfig::load(Source::File(&path), &[]).unwrap();
    assert_eq!(again.data.classes, config.data.classes);
    let deep = format!("x = \"\n{}", "a.".repeat(2000));
    fs::write(&path, deep).unwrap();
    assert!(RunConfig::load(Source::File(&path), &[]).is_err());
}
