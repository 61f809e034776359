use super::*;

#[test]
fn every_row_is_visited_once_with_its_index() {
    for (n_rows, grain) in [(0, 3), (1, 3), (7, 1), (7, 3), (64, 10), (5, 100)] {
        let mut y = vec![0usize; n_rows * 4];
        let mut stats = vec![0usize; n_rows];
        for_rows(
            (rows_mut(&mut y, 4), rows_mut(&mut stats, 1)),
            grain,
            |first, (y, stats)| {
                assert_eq!(y.len(), stats.len() * 4);
                for (i, (y, s)) in y.chunks_mut(4).zip(stats).enumerate() {
                    y.iter_mut().for_each(|y| *y += first + i + 1);
                    *s += first + i + 1;
                }
            },
        );
        assert_eq!(stats, (1..=n_rows).collect::<Vec<_>>());
        assert_eq!(y, (1..=n_rows).flat_map(|i| [i; 4]).collect::<Vec<_>>());
    }
}

#[cfg(not(target_arch = "wasm32"))]
#[test]
fn blocks_keep_to_their_grain() {
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        for (n_rows, least, most) in [(0, 2, 8), (1, 2, 8), (64, 4, 16), (99, 4, 16), (50, 3, 7)] {
            let mut visits = vec![0; n_rows];
            let sizes = Mutex::new(Vec::new());
            pool.install(|| {
                for_rows_within(rows_mut(&mut visits, 1), least..=most, |first, block| {
                    sizes.lock().unwrap().push((first, block.len()));
                    block.iter_mut().for_each(|n| *n += 1);
                });
            });
            assert_eq!(visits, vec![1; n_rows]);
            for (first, len) in sizes.into_inner().unwrap() {
                let last = first + len == n_rows;
                assert!(first % least == 0 && len <= most, "{first} {len}");
                assert!(last || len % least == 0, "{first} {len}");
            }
        }
    }
}

#[test]
fn a_short_last_row_is_a_row() {
    let mut y = [0usize; 7];
    for_rows(rows_mut(&mut y, 3), 1, |row, block| block.fill(row));
    assert_eq!(y, [0, 0, 0, 1, 1, 1, 2]);
}

#[cfg(not(target_arch = "wasm32"))]
#[test]
fn reduction_bits_do_not_depend_on_threads() {
    let x: Vec<f32> = (0..10_007).map(|i| (i as f32 * 0.37).sin()).collect();
    let sum = || reduce(x.len(), 100, |r| x[r].iter().sum::<f32>(), |a, b| a + b).unwrap();
    let with = |n| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .unwrap()
            .install(sum)
            .to_bits()
    };
    assert_eq!(with(1), with(2));
    assert_eq!(with(1), with(5));
    assert_eq!(reduce(0, 4, |r| r.len(), |a, b| a + b), None);
}

#[test]
fn threads_may_sleep() {
    keep_threads_awake(false);
    assert_eq!(enter(|| join(|| 2, || 3)), (2, 3));
    keep_threads_awake(true);
    assert_eq!(enter(|| join(|| 2, || 3)), (2, 3));
}
