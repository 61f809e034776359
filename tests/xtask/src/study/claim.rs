//! What is published, compared with what the seeds say.

use super::Spread;

/// A published order of two methods in a measure of which less is better.
#[derive(Debug)]
pub struct Claim {
    /// What is said to be lower than what, and in which measure.
    pub text: String,
    /// The published values, or where the order stands.
    pub published: String,
    /// By how much the first is lower, for each seed.
    pub gains: Vec<f64>,
}

/// What the seeds say of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The gain is positive in each seed, and its mean exceeds its deviation.
    Agrees,
    /// The gain is negative in each seed, and its size exceeds its deviation.
    Disagrees,
    /// Neither; always so with one seed.
    Undecided,
}

impl Claim {
    /// Nothing is decided by one seed.
    pub fn verdict(&self) -> Verdict {
        let Some(Spread {
            mean,
            deviation: Some(deviation),
        }) = Spread::of(&self.gains)
        else {
            return Verdict::Undecided;
        };
        let clear = mean.abs() > deviation;
        if clear && self.gains.iter().all(|gain| *gain > 0.0) {
            Verdict::Agrees
        } else if clear && self.gains.iter().all(|gain| *gain < 0.0) {
            Verdict::Disagrees
        } else {
            Verdict::Undecided
        }
    }

    /// A row of a Markdown table.
    fn row(&self) -> String {
        let better = self.gains.iter().filter(|gain| **gain > 0.0).count();
        let gain = Spread::of(&self.gains).map_or_else(String::new, |gain| format!("{gain:.3}"));
        let verdict = match self.verdict() {
            Verdict::Agrees => "agrees",
            Verdict::Disagrees => "does not agree",
            Verdict::Undecided => "undecided",
        };
        format!(
            "| {} | {} | {better} of {} | {gain} | {verdict} |",
            self.text,
            self.published,
            self.gains.len()
        )
    }
}

/// All of them as a Markdown table, and their number by verdict.
pub fn table(claims: &[Claim]) -> String {
    let mut lines = vec![
        "| published | values | seeds in which it is so here | gain here | small scale |"
            .to_owned(),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    lines.extend(claims.iter().map(Claim::row));
    let n = |wanted| claims.iter().filter(|c| c.verdict() == wanted).count();
    lines.push(format!(
        "\nOf {} published orders, {} agree, {} do not, and {} are undecided: the seeds differ about the sign, or the mean gain is within its \
         deviation.",
        claims.len(),
        n(Verdict::Agrees),
        n(Verdict::Disagrees),
        n(Verdict::Undecided)
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Claim, Verdict, table};

    fn claim(gains: &[f64]) -> Claim {
        Claim {
            text: "a below b".into(),
            published: "1 below 2".into(),
            gains: gains.to_vec(),
        }
    }

    #[test]
    fn verdicts() {
        let cases: [(&[f64], _); 6] = [
            (&[1.0, 1.5, 2.0], Verdict::Agrees),
            (&[-1.0, -1.5, -2.0], Verdict::Disagrees),
            // Seeds that differ about the sign.
            (&[1.0, -0.1, 2.0], Verdict::Undecided),
            // A mean within its deviation.
            (&[0.1, 0.1, 9.0], Verdict::Undecided),
            (&[5.0], Verdict::Undecided),
            (&[0.0, 0.0], Verdict::Undecided),
        ];
        for (gains, wanted) in cases {
            assert_eq!(claim(gains).verdict(), wanted, "{gains:?}");
        }
    }

    #[test]
    fn the_table_counts() {
        let text = table(&[claim(&[1.0, 2.0]), claim(&[1.0, -2.0])]);
        assert!(text.contains("| a below b | 1 below 2 | 2 of 2 | 1.500 ± 0.707 | agrees |"));
        assert!(text.contains("Of 2 published orders, 1 agree, 0 do not, and 1 are"));
    }
}
