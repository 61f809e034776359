//! The comparison of tensors that all tests use.

/// Panics unless every element of `got` is within `tol` times the root mean square of `want`.
///
/// Relative to the tensor and not to the element: rounding errors of a sum scale with its terms, not with its result.
/// Where `want` is all zeros `got` must be too.
#[track_caller]
pub fn assert_close<G, W>(what: &str, got: &[G], want: &[W], tol: f64)
where
    G: Copy + Into<f64>,
    W: Copy + Into<f64>,
{
    match distance(got, want) {
        Ok((_, error)) if error <= tol => println!("{what}: {error:.1e} of rms"),
        Ok((i, error)) => panic!(
            "{what}[{i}]: got {}, expected {}: {error:.3e} of rms, tolerance {tol:.1e}",
            got[i].into(),
            want[i].into()
        ),
        Err(reason) => panic!("{what}: {reason}"),
    }
}

/// The element with the largest absolute difference, and that difference over the root mean square of `want`; infinite
/// where `want` is all zeros and `got` is not.
///
/// # Errors
/// What is wrong when the lengths differ or a value is not finite.
pub fn distance<G, W>(got: &[G], want: &[W]) -> Result<(usize, f64), String>
where
    G: Copy + Into<f64>,
    W: Copy + Into<f64>,
{
    if got.len() != want.len() {
        return Err(format!("{} values, expected {}", got.len(), want.len()));
    }
    let (mut at, mut worst, mut squares) = (0, 0.0, 0.0);
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let (got, want): (f64, f64) = (got.into(), want.into());
        if !got.is_finite() || !want.is_finite() {
            return Err(format!("element {i} is {got}, expected {want}"));
        }
        if (got - want).abs() > worst {
            (at, worst) = (i, (got - want).abs());
        }
        squares += want * want;
    }
    let rms = (squares / want.len() as f64).sqrt();
    Ok((at, if worst == 0.0 { 0.0 } else { worst / rms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANT: [f64; 4] = [1.0, -1.0, 1.0, -1.0];

    #[test]
    fn equal_and_near_values_pass() {
        assert_close("equal", &WANT, &WANT, 0.0);
        assert_close("near", &[1.0f32, -1.0, 1.0, -1.001], &WANT, 2e-3);
        assert_close::<f32, f64>("empty", &[], &[], 0.0);
        assert_close("zeros", &[0.0f32], &[0.0f32], 0.0);
    }

    #[test]
    fn the_unit_is_the_rms_of_what_is_wanted() {
        assert_eq!(
            distance(&[5.0, 10.0], &[6.0, 8.0]),
            Ok((1, 2.0 / 50f64.sqrt()))
        );
    }

    #[test]
    #[should_panic(expected = "1.000e-1 of rms")]
    fn a_positive_difference_fails() {
        assert_close("x", &[1.0, -1.0, 1.1, -1.0], &WANT, 1e-2);
    }

    #[test]
    #[should_panic(expected = "1.000e-1 of rms")]
    fn a_negative_difference_fails() {
        assert_close("x", &[1.0, -1.0, 1.0, -1.1], &WANT, 1e-2);
    }

    #[test]
    #[should_panic(expected = "element 1 is NaN")]
    fn a_nan_fails() {
        assert_close("x", &[1.0, f64::NAN, 1.0, -1.0], &WANT, 1.0);
    }

    #[test]
    #[should_panic(expected = "expected NaN")]
    fn a_nan_that_is_wanted_fails() {
        assert_close("x", &[f64::NAN], &[f64::NAN], 1.0);
    }

    #[test]
    #[should_panic(expected = "element 3 is -inf")]
    fn an_infinity_fails() {
        assert_close("x", &[1.0, -1.0, 1.0, f32::NEG_INFINITY], &WANT, 1.0);
    }

    #[test]
    #[should_panic(expected = "3 values, expected 4")]
    fn a_length_mismatch_fails() {
        assert_close("x", &WANT[..3], &WANT, 1.0);
    }

    #[test]
    #[should_panic(expected = "inf of rms")]
    fn anything_but_zero_fails_where_zeros_are_wanted() {
        assert_close("x", &[1e-30], &[0.0], 1.0);
    }
}
