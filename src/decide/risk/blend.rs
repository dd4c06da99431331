//! Several opinions on one probability, weighted: a mixture (linear pool).

/// One opinion and its share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Share of the blend, 0 to 1; those of a blend add up to 1.
    pub weight: f64,
    /// Its expected probability.
    pub mean: f64,
    /// Its variance.
    pub variance: f64,
}

/// Mean and variance of the mixture. Parts that disagree add to the variance: `sum of w (v + (m - M)^2)`.
pub fn blend(parts: &[Part]) -> (f64, f64) {
    let mean = parts
        .iter()
        .fold(0.0, |sum, part| sum + part.weight * part.mean);
    let variance = parts.iter().fold(0.0, |sum, part| {
        let off = part.mean - mean;
        sum + part.weight * (part.variance + off * off)
    });
    (mean, variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_alone_is_itself_to_the_bit() {
        let part = Part {
            weight: 1.0,
            mean: 1.0 / 11.0,
            variance: 0.006_887_052_341_597_796,
        };
        assert_eq!(blend(&[part]), (part.mean, part.variance));
    }

    #[test]
    fn disagreement_is_uncertainty() {
        let part = |mean| Part {
            weight: 0.5,
            mean,
            variance: 0.01,
        };
        let (mean, variance) = blend(&[part(0.1), part(0.3)]);
        assert!((mean - 0.2).abs() < 1e-15);
        assert!((variance - 0.02).abs() < 1e-15);
    }
}
