//! Metrics of torch-fidelity and ADM's evaluator, on features and logits by formula.

use sit_tests::assert_close;
use sit_tests::fixture::{Entry, Fixture};
use sit_tests::formula::Formula;
use sit_trainer::metrics::{
    self, Directions, Draw, Floats, Gaussian, Moments, RandomState, Reference, Splits,
    inception_score, kernel_distance, precision_recall,
};

/// Of numbers that are stated with twelve digits and computed in f64.
const DIGITS: f64 = 1e-10;

/// Of numbers that the official code computes in f32.
const SINGLE: f64 = 1e-6;

/// All whole numbers of a text, in their order.
fn whole(text: &str) -> Vec<usize> {
    let parts = text.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

struct Official {
    fixture: Fixture,
    /// Samples and reference, `[N, d]`.
    samples: Vec<f32>,
    reference: Vec<f32>,
    dim: usize,
    logits: Vec<f32>,
    n_classes: usize,
}

/// A matrix by a formula of its row and column, whose sizes are the first numbers of the text.
fn matrix(text: &str, seed: f64, names: [&str; 2]) -> (Vec<f32>, usize) {
    let [rows, columns] = whole(text)[..2] else {
        panic!("no sizes in: {text}");
    };
    let formula = Formula::stated(text).with("seed", seed);
    let row = |row: usize| {
        let formula = formula.with(names[0], row as f64);
        let number = move |column: usize| {
            let i = (row * columns + column) as f64;
            let formula = formula.with(names[1], column as f64).with("i", i);
            formula.number() as f32
        };
        (0..columns).map(number)
    };
    ((0..rows).flat_map(row).collect(), columns)
}

fn open() -> Official {
    let fixture = Fixture::open("metrics");
    let root = fixture.root();
    let seed = root.at("seed").number();
    let ((logits, n_classes), [(samples, dim), (reference, other)]) = (
        matrix(root.at("logits").text(), seed, ["row", "col"]),
        ["G", "R"].map(|key| {
            let text = root.at(key).text();
            // The reference's columns are those of the samples.
            let (sizes, formula) = text.split_once(": ").expect("sizes and a formula");
            let columns = whole(root.at("G").text())[1];
            let text = format!("{} x {columns}: {formula}", whole(sizes)[0]);
            matrix(&text, seed, ["q", "c"])
        }),
    );
    assert_eq!(dim, other);
    let checks = root.at("checks");
    let sum = |values: &[f32]| values.iter().map(|x| f64::from(*x)).sum::<f64>();
    assert_close(
        "sums",
        &[sum(&samples), sum(&reference)],
        &[checks.at("G_sum").number(), checks.at("R_sum").number()],
        DIGITS,
    );
    for (key, values) in [
        ("G_first", &samples),
        ("R_first", &reference),
        ("logits_first", &logits),
    ] {
        let first = checks.at(key).numbers();
        assert_close(key, &values[..first.len()], &first, 1e-7);
    }
    drop(root);
    Official {
        samples,
        reference,
        dim,
        logits,
        n_classes,
        fixture,
    }
}

impl Official {
    fn results(&self) -> Entry<'_> {
        self.fixture.root().at("results")
    }

    fn rows<'a>(&'a self, values: &'a [f32], n: Option<usize>) -> Floats<'a> {
        let values = &values[..n.map_or(values.len(), |n| n * self.dim)];
        Floats::new(values, self.dim).unwrap()
    }

    fn gaussian(&self, values: &[f32], n: Option<usize>) -> Gaussian {
        let mut moments = Moments::new(self.dim);
        moments
            .add(&values[..n.map_or(values.len(), |n| n * self.dim)])
            .unwrap();
        moments.finish().unwrap()
    }

    fn fid(&self, samples: &[f32], reference: &[f32], n: Option<usize>) -> metrics::Distance {
        let reference = Reference::new(self.gaussian(reference, n)).unwrap();
        reference.distance(&self.gaussian(samples, n)).unwrap()
    }
}

#[test]
fn frechet_distances_are_the_official_ones() {
    let official = open();
    let checks = official.fixture.root();
    let checks = checks.at("checks");
    let moments = official.gaussian(&official.samples, None);
    let mean = checks.at("G_mean_first").numbers();
    assert_close("mean", &moments.mean()[..mean.len()], &mean, DIGITS);
    let covariance = checks.at("G_cov_00_01").numbers();
    assert_close(
        "covariance",
        &moments.covariance()[..covariance.len()],
        &covariance,
        DIGITS,
    );

    let results = official.results();
    let whole_sets = official.fid(&official.samples, &official.reference, None);
    assert!(!whole_sets.is_singular);
    let expected = results.at("fid").at("sqrtm").number();
    assert_close("FID", &[whole_sets.value], &[expected], DIGITS);
    let same = official.fid(&official.samples, &official.samples, None);
    assert!(same.value < 1e-10, "{same:?}");
    let singular: Vec<(&str, Entry<'_>)> = results.entries();
    let singular = singular
        .iter()
        .filter(|(key, _)| key.starts_with("fid_first_"));
    let mut n_tried = 0;
    for (key, entry) in singular {
        let n = whole(key)[0];
        let found = official.fid(&official.samples, &official.reference, Some(n));
        assert_eq!(found.is_singular, n <= official.dim);
        // The product of two singular covariances has eigenvalues of 0. The official code adds the root of the rounding error of each, near
        // 10^-8 of the largest; here they are left out.
        let official = entry.at("sqrtm").number();
        assert_close(key, &[found.value], &[official], SINGLE);
        n_tried += 1;
    }
    assert!(n_tried > 0);
}

#[test]
fn kernel_distances_are_the_official_ones() {
    let official = open();
    let results = official.results();
    let kid = results.at("kid");
    let n = kid.at("first_rows").count();
    let (x, y) = (
        official.rows(&official.samples, Some(n)),
        official.rows(&official.reference, Some(n)),
    );
    let all: Vec<u32> = (0..n as u32).collect();
    let whole_sets = kernel_distance(&x, &y, &[[all.clone(), all]]).unwrap();
    assert_close("all", &[whole_sets.mean], &[kid.at("all").number()], DIGITS);
    let subset = kid.at("subset");
    let [first, last] = whole(subset.at("j").text())[..] else {
        panic!("no range of j");
    };
    let rows = ["rows_1", "rows_2"].map(|key| {
        let formula = Formula::stated(subset.at(key).text());
        let rows = (first..=last).map(|j| formula.with("j", j as f64).number() as u32);
        rows.collect()
    });
    let given = kernel_distance(&x, &y, &[rows]).unwrap();
    assert_close(
        "subset",
        &[given.mean],
        &[subset.at("value").number()],
        DIGITS,
    );
    // Its own subsets, which are NumPy's.
    let drawn = kid.entries();
    let drawn = drawn
        .iter()
        .find(|(key, _)| key.contains("seed"))
        .expect("drawn subsets");
    let [n_subsets, size, seed] = whole(drawn.0)[..] else {
        panic!("no sizes in {}", drawn.0);
    };
    let subsets = metrics::subsets(Draw::TorchFidelity(seed as u32), [n, n], size, n_subsets);
    let found = kernel_distance(&x, &y, &subsets).unwrap();
    let expected = ["mean", "std"].map(|key| drawn.1.at(key).number());
    assert_close(drawn.0, &[found.mean, found.deviation], &expected, DIGITS);
    // And ours, of the same distribution.
    let subsets = metrics::subsets(Draw::Own(0), [n, n], size, n_subsets);
    let own = kernel_distance(&x, &y, &subsets).unwrap();
    let error = 4.0 * expected[1] * (2.0 / n_subsets as f64).sqrt();
    assert!(
        (own.mean - expected[0]).abs() < error,
        "{own:?} {expected:?}"
    );
}

#[test]
fn precision_and_recall_are_the_official_ones() {
    let official = open();
    let (x, y) = (
        official.rows(&official.samples, None),
        official.rows(&official.reference, None),
    );
    for (key, entry) in official.results().at("precision_recall").entries() {
        let found = precision_recall(&x, &y, whole(key)[0]).unwrap();
        let expected = [entry.at("precision").number(), entry.at("recall").number()];
        assert_close(key, &[found.precision, found.recall], &expected, SINGLE);
        assert_close(
            key,
            &[found.precision, found.recall],
            &entry.at("own").numbers(),
            DIGITS,
        );
    }
}

#[test]
fn inception_scores_are_the_official_ones() {
    let official = open();
    let score = |splits, order: Option<&[u32]>| {
        let found = inception_score(&official.logits, official.n_classes, splits, order).unwrap();
        [found.mean, found.deviation]
    };
    let n = official.logits.len() / official.n_classes;
    for (key, entry) in official.results().at("inception_score").entries() {
        let number = whole(key).first().copied();
        match (number, entry.get("note"), key.contains("splits_of")) {
            (Some(k), Some(note), _) => {
                let seed = whole(note.text()).into_iter().max().expect("a seed");
                let order = RandomState::new(seed as u32).permutation(n as u32);
                let first = entry.at("permutation_first_10").labels();
                assert_eq!(order[..first.len()], first);
                let found = score(Splits::Count(k), Some(&order));
                assert_close(key, &found, &entry.at("value").numbers(), DIGITS);
            }
            (Some(k), None, false) => assert_close(
                key,
                &score(Splits::Count(k), None),
                &entry.numbers(),
                DIGITS,
            ),
            (Some(size), None, true) => assert_close(
                key,
                &score(Splits::Size(size), None)[..1],
                &[entry.number()],
                DIGITS,
            ),
            (None, ..) => assert_close(
                key,
                &score(Splits::Size(n), None)[..1],
                &[entry.number()],
                DIGITS,
            ),
        }
    }
}

#[test]
fn mind_is_the_official_one() {
    let official = open();
    let results = official.results();
    let entry = results.at("mind");
    let n = entry.at("first_rows").count();
    let (x, y) = (
        official.rows(&official.samples, Some(n)),
        official.rows(&official.reference, Some(n)),
    );
    let note = entry.at("note").text();
    let seed = official.fixture.root().at("seed").number();
    let formula = Formula::labelled(note, "rows of").with("seed", seed);
    let n_directions = whole(note)[0];
    // As all its numbers, they are rounded to f32.
    let values = formula.values(n_directions * official.dim);
    let directions = Directions::given(values.into_iter().map(f64::from).collect(), official.dim);
    let found = metrics::mind(&x, &y, &directions).unwrap();
    assert_close("MIND", &[found], &[entry.at("own_f64").number()], DIGITS);
    assert_close(
        "MIND in f32",
        &[found],
        &[entry.at("given_directions").number()],
        SINGLE,
    );
    // Directions of chance: the mean is that of the official draw, within what a thousand of them vary.
    let drawn = Directions::drawn(0, 1000, official.dim);
    let found = metrics::mind(&x, &y, &drawn).unwrap();
    let expected = entry.at("torch_fidelity_1000_random").number();
    assert!((found / expected - 1.0).abs() < 0.2, "{found} {expected}");
}
