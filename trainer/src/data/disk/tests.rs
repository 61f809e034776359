use tempfile::TempDir;

use super::*;
use crate::data::decode::Rules;

const FIT: Fit = Fit {
    channels: 1,
    image_size: 2,
    background: [255; 3],
    rules: Rules {
        orientation: true,
        max_pixels: 100,
    },
};

struct Data {
    root: TempDir,
    place: TempDir,
}

const LEVELS: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

impl Data {
    fn new() -> Self {
        let data = Self {
            root: tempfile::tempdir().unwrap(),
            place: tempfile::tempdir().unwrap(),
        };
        for name in ["a.png", "b.png", "c.png"] {
            fs::write(data.root.path().join(name), name).unwrap();
        }
        data
    }

    fn cache(&self, names: &[&str]) -> Cache {
        let files: Vec<Item> = names
            .iter()
            .map(|name| Item::file(self.root.path().join(name), 0))
            .collect();
        let mut cache = Cache::new(self.place.path(), self.root.path(), &FIT, &files, &None);
        cache.min_source_bytes = 0;
        cache
    }

    fn read(&self, names: &[&str]) -> (Vec<u8>, Vec<bool>) {
        let mut levels = vec![0; 4 * names.len()];
        let found = self.cache(names).read(&mut levels);
        (levels, found)
    }
}

#[test]
fn what_is_written_is_found_by_name_length_and_time() {
    let data = Data::new();
    let names = ["a.png", "b.png", "c.png"];
    assert_eq!(data.read(&names), (vec![0; 12], vec![false; 3]));
    data.cache(&names).write(&LEVELS, &[true, false, true]);
    let (levels, found) = data.read(&names);
    assert_eq!(found, [true, false, true]);
    assert_eq!([&levels[..4], &levels[8..]], [&LEVELS[..4], &LEVELS[8..]]);
    // Another order and a file that has gone.
    let (levels, found) = data.read(&["c.png", "b.png"]);
    assert_eq!(
        (&levels[..4], &found[..]),
        (&LEVELS[8..], &[true, false][..])
    );
    // A file that has changed.
    fs::write(data.root.path().join("a.png"), "another length").unwrap();
    assert_eq!(data.read(&names).1, [false, false, true]);
    let file = File::options()
        .write(true)
        .open(data.root.path().join("c.png"))
        .unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(9))
        .unwrap();
    assert_eq!(data.read(&names).1, [false; 3]);
}

#[test]
fn a_damaged_file_is_not_believed() {
    let data = Data::new();
    let names = ["a.png", "b.png", "c.png"];
    let cache = data.cache(&names);
    cache.write(&LEVELS, &[true; 3]);
    let good = fs::read(&cache.file).unwrap();
    assert_eq!(data.read(&names), (LEVELS.to_vec(), vec![true; 3]));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&cache.file, &bad).unwrap();
        let (levels, found) = data.read(&names);
        assert!(found.contains(&false), "byte {at}");
        for (index, found) in found.into_iter().enumerate() {
            let range = 4 * index..4 * index + 4;
            assert!(
                !found || levels[range.clone()] == LEVELS[range],
                "byte {at}"
            );
        }
        fs::write(&cache.file, &good[..at]).unwrap();
        assert!(data.read(&names).1.contains(&false), "cut at {at}");
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_no_fault() {
    let data = Data::new();
    fs::write(data.place.path().join("images"), "in the way").unwrap();
    let cache = data.cache(&["a.png"]);
    cache.write(&LEVELS[..4], &[true]);
    assert_eq!(cache.read(&mut [0; 4]), [false]);
}

#[test]
fn what_was_used_the_longest_ago_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, age: u64| {
        let path = folder.path().join(name);
        fs::write(&path, [0; 100]).unwrap();
        let used = SystemTime::now() - Duration::from_secs(age);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(used).unwrap();
        path
    };
    let (old, new) = (file("old.images", 9000), file("new.images", 10));
    let kept = file("kept.images", 90_000);
    let (partial, young) = (file(".partial-1", 90_000), file(".partial-2", 10));
    let other = file("notes.txt", 90_000);
    prune(folder.path(), &kept, 200).unwrap();
    let there = [&old, &new, &kept, &partial, &young, &other].map(|path| path.exists());
    assert_eq!(there, [false, true, true, false, true, true]);
}
