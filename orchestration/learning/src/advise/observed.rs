//! What was measured of services at sites, as it is learned from.

/// Some seconds of a service at a site in which it answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Unix time in seconds.
    pub at_s: i64,
    /// Answers a second.
    pub rate: f64,
    /// Processors that the service used.
    pub own: f64,
    /// Processors that all others used at the site.
    pub others: f64,
    /// The mean latency of its answers in milliseconds.
    pub latency_ms: f64,
}

impl Moment {
    /// Whether all of it was really measured.
    pub(super) fn is_sound(&self) -> bool {
        let within = |value: f64, most: f64| (0.0..=most).contains(&value);
        within(self.rate, 1e7)
            && self.rate > 0.0
            && within(self.own, 1e5)
            && within(self.others, 1e5)
            && within(self.latency_ms, 1e7)
            && self.latency_ms > 0.0
    }
}

/// One service at one site.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// What names the service for ever.
    pub service: String,
    /// The site's name.
    pub site: String,
    /// The site's processors.
    pub processors: f64,
    /// In the order of time.
    pub moments: Vec<Moment>,
}
