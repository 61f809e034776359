use super::*;

#[test]
fn samples_of_a_tar_file_have_the_labels_beside_them() {
    let long = format!("{}/0002.v1.png", "x".repeat(120));
    let (a, b, c) = (png(10), png(20), png(30));
    let tar = tar_of(&[
        ("./0001.png", &a),
        ("./0001.seg.png", &c),
        ("./0001.cls", b"7\n"),
        ("0001.txt", b"a cat"),
        ("\u{e9}t\u{e9}.jpeg", &b),
        ("\u{e9}t\u{e9}.json", b"{\"label\": 2, \"other\": [1]}"),
        (&long, &c),
        (&long.replace(".v1.png", ".cls"), b"0"),
        ("._0001.png", b"x"),
    ]);
    let place = Place::new(&[("train.tar", tar)]);
    for cache_mib in [None, Some(0)] {
        let data = open(&DataConfig {
            cache_mib,
            ..config(&place.at("train.tar"))
        })
        .unwrap();
        assert_eq!((data.n_classes(), data.class_names().len()), (8, 0));
        let expected = [
            (10, 7, "/0001.png".to_owned()),
            (20, 2, "/\u{e9}t\u{e9}.jpeg".to_owned()),
            (30, 0, format!("/{long}")),
        ];
        assert_eq!(contents(&data), expected);
    }
    let left_out = list(&config(&place.at("train.tar"))).unwrap().left_out;
    assert_eq!(
        left_out.to_string(),
        "1 .seg.png, 1 .txt, 1 hidden or of the system"
    );
}

#[test]
fn folders_in_tar_files_are_classes_and_all_shards_count() {
    let pictures: Vec<Vec<u8>> = (0..5).map(|i| png(40 * i)).collect();
    let first = tar_of(&[
        ("all/2/a.png", &pictures[0]),
        ("all/10/b.v2.png", &pictures[1]),
        ("all/10/b.v3.png", &pictures[4]),
    ]);
    let second = tar_of(&[("all/1/c.png", &pictures[2]), ("all/2/d.png", &pictures[3])]);
    let place = Place::new(&[
        ("s-09.tar", first),
        ("s-10.tar", second),
        ("notes.md", b"x".to_vec()),
    ]);
    let natural = DataConfig {
        class_order: Some(crate::data::ClassOrder::Natural),
        ..config(place.0.path())
    };
    let expected = [(0, 1), (40, 2), (160, 2), (80, 0), (120, 1)];
    for path in [place.0.path().to_owned(), place.at("s-{09..10}.tar")] {
        let path = Some(path);
        let data = open(&DataConfig {
            path,
            ..natural.clone()
        })
        .unwrap();
        assert_eq!(levels_and_labels(&data), expected);
        assert_eq!(data.class_names(), ["1", "2", "10"]);
        assert_eq!(contents(&data)[4].2, "/s-10.tar/all/2/d.png");
    }
    let texts: Vec<PathBuf> = expand(Path::new("{1..2}-{9..10}.x")).unwrap().unwrap();
    assert_eq!(
        texts,
        ["1-9.x", "2-9.x", "1-10.x", "2-10.x"].map(PathBuf::from)
    );
    let texts: Vec<PathBuf> = expand(Path::new("{1..2}-{9..10}.x")).unwrap().unwrap();
    assert_eq!(
        texts,
        ["1-9.x", "2-9.x", "1-10.x", "2-10.x"].map(PathBuf::from)
    );
    let missing = open(&config(&place.at("s-{09..11}.tar"))).err().unwrap();
    assert!(
        missing.contains("s-11.tar: got no such file, expected the 3 files of "),
        "{missing}"
    );
    let backwards = open(&config(&place.at("s-{3..1}.tar"))).err().unwrap();
    assert!(
        backwards.starts_with("data.path: got {3..1} in "),
        "{backwards}"
    );
    let many = open(&config(&place.at("s-{0..99}-{0..9999}.tar")));
    let many = many.err().unwrap();
    assert!(many.contains("got 1000000 files in "), "{many}");
}

/// Classes are matched by name, and the part to test with may lack some.
#[test]
fn a_test_part_has_the_classes_of_the_other() {
    let (a, b) = (png(10), png(20));
    let train = tar_of(&[("ant/0.png", &a), ("bee/0.png", &b), ("cat/0.png", &b)]);
    let test = tar_of(&[("ant/1.png", &a), ("cat/1.png", &b)]);
    let place = Place::new(&[("train.tar", train), ("test.tar", test)]);
    let mut resolved = config(place.0.path());
    let train = open(&resolved).unwrap();
    train.resolve(&mut resolved);
    let test = open(&DataConfig {
        split: Split::Test,
        ..resolved
    });
    assert_eq!(levels_and_labels(&test.unwrap()), [(10, 0), (20, 2)]);
}

#[test]
fn classes_of_a_tar_file_may_be_names() {
    let (a, b) = (png(10), png(20));
    let tar = tar_of(&[
        ("0.png", &a),
        ("0.cls", b"dog"),
        ("1.png", &b),
        ("1.json", b"{\"class\": \"cat\"}"),
    ]);
    let place = Place::new(&[("a.tar", tar)]);
    let data = open(&config(&place.at("a.tar"))).unwrap();
    assert_eq!(levels_and_labels(&data), [(10, 1), (20, 0)]);
    assert_eq!(data.class_names(), ["cat", "dog"]);
}

#[test]
fn what_is_wrong_with_a_tar_file_is_said() {
    let a = png(10);
    let good = [("a/0.png", &a[..]), ("a/0.cls", b"1")];
    let with = |more: &[(&str, &[u8])]| tar_of(&[&good[..], more].concat());
    let mut linked = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    linked
        .append_link(&mut header, "b.png", "/etc/passwd")
        .unwrap();
    let linked = linked.into_inner().unwrap();
    let mut wide = with(&[]);
    // A size in base 256.
    wide[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    let sum: u32 = wide[..148]
        .iter()
        .chain(&wide[156..512])
        .map(|b| u32::from(*b))
        .sum();
    wide[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
    let cut = with(&[("a/1.png", &a)]);
    let cut = cut[..cut.len() - 1024 - 512].to_vec();
    let rows: [(&str, Vec<u8>, &str); 13] = [
        (
            "same",
            with(&[("./a/0.png", &a)]),
            "got two entries a/0.png, expected one of each name",
        ),
        (
            "two",
            with(&[("a/0.jpg", &a)]),
            "got two pictures of one sample, a/0.png and a/0.jpg",
        ),
        (
            "none",
            with(&[("a/1.png", &a)]),
            "no label for 1 of 2 images, such as ",
        ),
        (
            "json",
            with(&[("a/1.png", &a), ("a/1.json", b"[]")]),
            "a/1.json: got other JSON (",
        ),
        (
            "bad",
            with(&[("a/1.png", &a), ("a/1.json", b"{\"label\": -1}")]),
            "a/1.json: got the label -1",
        ),
        (
            "long",
            with(&[("a/1.cls", &[b'x'; 5000])]),
            "a/1.cls: got 5000 bytes, expected at most 4096",
        ),
        ("text", with(&[("a/1.png", b"no")]), "no label for 1 of 2"),
        (
            "empty",
            Vec::new(),
            "got no pictures, expected pictures (.png, ",
        ),
        ("link", linked, "got no pictures, but 1 link, expected"),
        (
            "other",
            b"<html>".repeat(200),
            "got no header, or a damaged one, at byte 0 (",
        ),
        ("wide", wide, "got an entry a/0.png of 1099511627776 bytes"),
        ("cut", cut, "got an entry a/1.png of "),
        (
            "mixed",
            tar_of(&[("0.png", &a), ("a/1.png", &a)]),
            "got both 1 picture in no folder and 1 folder of them",
        ),
    ];
    for (name, bytes, expected) in rows {
        let place = Place::new(&[(&format!("{name}.tar"), bytes)]);
        let path = place.at(&format!("{name}.tar"));
        let text = open(&config(&path)).err().unwrap_or_default();
        let named = text.starts_with(path.to_str().unwrap());
        assert!(named && text.contains(expected), "{name}: {text}");
    }
    // What is bad is left out where that was asked for, or the labels are ignored.
    let tar = with(&[("a/1.png", &a), ("a/2.png", b"no"), ("a/2.cls", b"0")]);
    let place = Place::new(&[("a.tar", tar), ("b.tgz", vec![0x1f, 0x8b])]);
    let of = |skip_bad, n_classes| {
        open(&DataConfig {
            skip_bad,
            n_classes,
            ..config(&place.at("a.tar"))
        })
    };
    assert_eq!(levels_and_labels(&of(true, None).unwrap()), [(10, 0)]);
    let text = of(false, Some(0)).err().unwrap();
    assert!(
        text.contains("a.tar/a/2.png: not a PNG, JPEG or WebP file"),
        "{text}"
    );
    assert_eq!(of(true, Some(0)).unwrap().len(), 2);
    let text = suggest_text(&place.at("b.tgz"));
    assert!(
        text.contains("got a compressed tar file, expected a plain one"),
        "{text}"
    );
}
