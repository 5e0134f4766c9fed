//! Reading `/metrics`.

/// The whole-numbered samples of a scrape: counters and gauges.
#[derive(Debug, Clone)]
pub struct Metrics {
    samples: Vec<(String, u64)>,
}

impl Metrics {
    /// Parses the text format; comments and fractions are skipped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self { samples: text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect() }
    }

    /// The sum of the samples of this name (`_total` may be left out) that have all these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let counted = |series: &str| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            let named = found == name || found.strip_suffix("_total") == Some(name);
            named && labels.iter().all(|(label, value)| rest.contains(&format!("{label}=\"{value}\"")))
        };
        self.samples.iter().filter(|(series, _)| counted(series)).map(|(_, value)| value).sum()
    }

    /// Whether there is a metric of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|(series, _)| series.starts_with(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let metrics = Metrics::parse("# HELP x y\nhits_total{a=\"1\",b=\"2\"} 3\nhits_total{a=\"2\"} 4\nother 9\n");
        assert_eq!(metrics.sum("hits", &[]), 7);
        assert_eq!(metrics.sum("hits", &[("a", "1")]), 3);
        assert!(metrics.has("other") && !metrics.has("missing"));
    }
}
