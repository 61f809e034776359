use tempfile::TempDir;

use super::*;

/// Files of these names, each empty, and folders where a name ends in a slash.
fn tree(names: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in names {
        let path = root.path().join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }
    root
}

fn natural(root: &TempDir) -> Listing {
    list(root.path(), ClassOrder::Natural, true, false).unwrap()
}

#[test]
fn other_formats_are_named_and_what_systems_leave_is_no_class() {
    let root = tree(&[
        "cat/a.png",
        "cat/b.gif",
        "cat/c.GIF",
        "cat/d.heic",
        "cat/notes",
        "dog/a.webp",
        "dog/Thumbs.db",
        "__MACOSX/cat/._a.png",
        "@eaDir/x.jpg",
        ".DS_Store",
    ]);
    let listing = natural(&root);
    assert_eq!(listing.class_names, ["cat", "dog"]);
    assert_eq!(listing.files.len(), 2);
    let text = listing.left_out.to_string();
    assert_eq!(
        text,
        "2 .gif, 1 without extension, 1 .heic, 4 hidden or of the system"
    );
}

#[test]
fn run_folders_are_no_data() {
    let config = "[model]\n[data]\n";
    let root = tree(&["0.png", "runs/one/previews/1.png", "runs/one/metrics.jsonl"]);
    let listing = natural(&root);
    assert_eq!((listing.files.len(), listing.class_names.len()), (1, 0));
    assert_eq!(listing.left_out.runs, [root.path().join("runs/one")]);
    assert!(listing.left_out.to_string().starts_with("1 run folder ("));
    let root = tree(&[
        "cat/0.png",
        "dog/0.png",
        "elsewhere/step-00000010/state.json",
        "elsewhere/1.png",
        "runs/two/config.toml",
        "runs/two/1.png",
    ]);
    fs::write(root.path().join("runs/two/config.toml"), config).unwrap();
    let listing = natural(&root);
    assert_eq!(listing.class_names, ["cat", "dog"]);
    assert_eq!((listing.files.len(), listing.left_out.runs.len()), (2, 2));
    assert!(listing.empty.is_empty());
    // A folder of images with some other file of that name is data.
    let root = tree(&["cat/config.toml", "cat/0.png", "dog/1.png"]);
    assert_eq!(natural(&root).class_names, ["cat", "dog"]);
}

#[test]
fn empty_class_folders_are_refused_by_name_or_left_out() {
    let root = tree(&["cat/0.png", "emu/", "eel/deep/", "yak/0.png"]);
    let listing = natural(&root);
    assert_eq!(listing.class_names, ["cat", "yak"]);
    assert_eq!(listing.files[1].label, 1);
    let empty = ["eel", "emu"].map(|name| root.path().join(name));
    assert_eq!(listing.empty, empty);
    refuse_empty(root.path(), &listing.empty, true).unwrap();
    let error = refuse_empty(root.path(), &listing.empty, false).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(empty[0].to_str().unwrap())
            && text.contains(empty[1].to_str().unwrap())
            && text.contains("--skip-bad"),
        "{text}"
    );
}

#[test]
fn class_folders_that_are_numbers_are_in_their_order() {
    let names: Vec<String> = (0..12).map(|i| format!("{i}/a.png")).collect();
    let root = tree(&names.iter().map(|name| &name[..]).collect::<Vec<_>>());
    let expected: Vec<String> = (0..12).map(|i| i.to_string()).collect();
    assert_eq!(natural(&root).class_names, expected);
    let text = list(root.path(), ClassOrder::Text, true, false).unwrap();
    assert_eq!(text.class_names[..3], ["0", "1", "10"]);
    assert!(text.files[2].path.ends_with("10/a.png") && text.files[2].label == 2);
}

#[cfg(unix)]
#[test]
fn each_folder_is_listed_once_whatever_links_there_are() {
    use std::os::unix::fs::symlink;
    let root = tree(&["cat/a.png", "dog/b.png"]);
    let link = |target: &str, name: &str| symlink(target, root.path().join(name)).unwrap();
    link("..", "cat/up");
    link("../..", "cat/further");
    link(".", "cat/self");
    link(".", "here");
    link(".", "there");
    link("../dog", "cat/dogs");
    link("../cat", "dog/cats");
    link("nowhere.png", "dog/broken.png");
    let listing = natural(&root);
    let names: Vec<_> = listing
        .files
        .iter()
        .map(|Item { path, label, .. }| {
            (
                path.strip_prefix(root.path()).unwrap().to_str().unwrap(),
                *label,
            )
        })
        .collect();
    let expected = [
        ("cat/a.png", 0),
        ("cat/dogs/b.png", 0),
        ("cat/dogs/broken.png", 0),
        ("dog/b.png", 1),
        ("dog/broken.png", 1),
        ("dog/cats/a.png", 1),
    ];
    assert_eq!(names, expected);
    assert!(listing.empty.is_empty() && listing.left_out.links.len() >= 7);
    // A class folder may be a link.
    let linked = tempfile::tempdir().unwrap();
    for class in ["cat", "dog"] {
        symlink(root.path().join(class), linked.path().join(class)).unwrap();
    }
    assert_eq!(natural(&linked).class_names, ["cat", "dog"]);
}

#[cfg(unix)]
#[test]
fn pipes_and_names_that_are_not_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let root = tree(&[]);
    let class = root.path().join(std::ffi::OsStr::from_bytes(b"img\xff"));
    fs::create_dir(&class).unwrap();
    fs::write(class.join("a.png"), "").unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(class.join("pipe.png"))
        .status();
    let listing = natural(&root);
    assert_eq!(listing.class_names, ["img\\xff"]);
    assert_eq!(listing.files.len(), 1);
    assert_eq!(
        listing.left_out.special,
        usize::from(made.is_ok_and(|status| status.success()))
    );
}
