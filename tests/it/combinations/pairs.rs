//! Rows that hold every pair of values of any two factors.

/// Rows of value numbers, one for each factor with this many values, so that every two values of two factors are together in a row.
pub fn all_pairs(sizes: &[usize]) -> Vec<Vec<usize>> {
    let mut seen = Seen::new(sizes);
    let mut rows = Vec::new();
    while let Some([(a, i), (b, j)]) = seen.next() {
        let mut row: Vec<Option<usize>> = vec![None; sizes.len()];
        (row[a], row[b]) = (Some(i), Some(j));
        for factor in 0..sizes.len() {
            if row[factor].is_none() {
                // The value with the most new pairs; of equals, another one in each row.
                let new = |value: &usize| {
                    let others = row.iter().enumerate();
                    let pairs = others.filter_map(|(other, v)| v.map(|v| (other, v)));
                    pairs
                        .filter(|&other| !seen.has((factor, *value), other))
                        .count()
                };
                let turned = (0..sizes[factor]).map(|v| (v + rows.len()) % sizes[factor]);
                row[factor] = turned.max_by_key(new);
            }
        }
        let row: Vec<usize> = row.into_iter().map(|v| v.expect("a value")).collect();
        seen.add(&row);
        rows.push(row);
    }
    rows
}

/// Pairs that are in a row.
struct Seen {
    /// Of factor `a` and a later one `b`: whether the values `i` and `j` were together, at `i * sizes[b] + j`.
    pairs: Vec<(usize, usize, Vec<bool>)>,
    sizes: Vec<usize>,
}

impl Seen {
    fn new(sizes: &[usize]) -> Self {
        let n = sizes.len();
        let factors = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
        Seen {
            pairs: factors
                .map(|(a, b)| (a, b, vec![false; sizes[a] * sizes[b]]))
                .collect(),
            sizes: sizes.to_vec(),
        }
    }

    fn has(&self, one: (usize, usize), other: (usize, usize)) -> bool {
        let [(a, i), (b, j)] = if one < other {
            [one, other]
        } else {
            [other, one]
        };
        let of = self.pairs.iter().find(|(x, y, _)| (*x, *y) == (a, b));
        of.is_some_and(|(.., seen)| seen[i * self.sizes[b] + j])
    }

    fn next(&self) -> Option<[(usize, usize); 2]> {
        self.pairs.iter().find_map(|(a, b, seen)| {
            let at = seen.iter().position(|is_seen| !is_seen)?;
            let width = self.sizes[*b];
            Some([(*a, at / width), (*b, at % width)])
        })
    }

    fn add(&mut self, row: &[usize]) {
        for (a, b, seen) in &mut self.pairs {
            seen[row[*a] * self.sizes[*b] + row[*b]] = true;
        }
    }
}

/// All rows.
pub fn product(sizes: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    let n: usize = sizes.iter().product();
    (0..n).map(|mut at| {
        let value = |size: &usize| {
            let value = at % size;
            at /= size;
            value
        };
        sizes.iter().map(value).collect()
    })
}

#[test]
fn every_pair_is_in_a_row() {
    let sizes = [3, 2, 4, 2];
    let rows = all_pairs(&sizes);
    assert!((12..18).contains(&rows.len()), "{}", rows.len());
    for a in 0..4 {
        for b in 0..a {
            for i in 0..sizes[a] {
                for j in 0..sizes[b] {
                    assert!(rows.iter().any(|row| (row[a], row[b]) == (i, j)));
                }
            }
        }
    }
    let mut all: Vec<_> = product(&sizes).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 48);
}
