//! Several estimates of one probability, weighted: a mixture (linear opinion pool).

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// 0 to 1; the weights of a mixture add up to 1.
    pub weight: f64,
    pub mean: f64,
    pub variance: f64,
}

/// Mean and variance of the mixture: `sum of w m`, and `sum of w (v + (m - M)^2)`, to which estimates
/// that disagree add.
pub fn blend(estimates: &[Estimate]) -> (f64, f64) {
    let mean = estimates
        .iter()
        .fold(0.0, |sum, it| sum + it.weight * it.mean);
    let variance = estimates.iter().fold(0.0, |sum, it| {
        let off = it.mean - mean;
        sum + it.weight * (it.variance + off * off)
    });
    (mean, variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_alone_is_itself_to_the_bit() {
        let part = Estimate {
            weight: 1.0,
            mean: 1.0 / 11.0,
            variance: 0.006_887_052_341_597_796,
        };
        assert_eq!(blend(&[part]), (part.mean, part.variance));
    }

    #[test]
    fn disagreement_is_uncertainty() {
        let part = |mean| Estimate {
            weight: 0.5,
            mean,
            variance: 0.01,
        };
        let (mean, variance) = blend(&[part(0.1), part(0.3)]);
        assert!((mean - 0.2).abs() < 1e-15);
        assert!((variance - 0.02).abs() < 1e-15);
    }
}
