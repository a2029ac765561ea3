//! Conditional requests, with the precedence of RFC 9110 that S3 follows.

/// What a request asks about an object before it acts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// ETags one of which the object must have.
    pub(crate) if_match: Option<ETags>,
    /// ETags none of which it may have.
    pub(crate) if_none_match: Option<ETags>,
    /// It must have been changed since, in seconds since the Unix epoch.
    pub(crate) if_modified_since: Option<u64>,
    /// It must not have been changed since.
    pub(crate) if_unmodified_since: Option<u64>,
}

/// ETags of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ETags {
    /// `*`.
    Any,
    /// These, without quotes.
    These(Vec<String>),
}

impl ETags {
    pub(crate) fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::Any;
        }
        let tag = |text: &str| {
            let text = text.trim();
            text.strip_prefix("W/").unwrap_or(text).trim_matches('"').to_owned()
        };
        Self::These(text.split(',').map(tag).collect())
    }

    pub(crate) fn contains(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

/// What follows from an object's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Go on.
    Proceed,
    /// The client has this state already.
    NotModified,
    /// What was to hold does not.
    Failed,
}

impl Conditions {
    /// Decides for an object with this ETag that was changed at `modified`, in seconds.
    pub(crate) fn decide(&self, etag: &str, modified: u64) -> Outcome {
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !tags.contains(etag) => return Outcome::Failed,
            (None, Some(time)) if modified > time => return Outcome::Failed,
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) if tags.contains(etag) => Outcome::NotModified,
            (None, Some(time)) if modified <= time => Outcome::NotModified,
            _ => Outcome::Proceed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(
        if_match: Option<&str>,
        if_unmodified_since: Option<u64>,
        if_none_match: Option<&str>,
        if_modified_since: Option<u64>,
    ) -> Conditions {
        Conditions {
            if_match: if_match.map(ETags::parse),
            if_none_match: if_none_match.map(ETags::parse),
            if_modified_since,
            if_unmodified_since,
        }
    }

    #[test]
    fn each_condition_alone() {
        use Outcome::{Failed, NotModified, Proceed};
        for (conditions, expected) in [
            (conditions(None, None, None, None), Proceed),
            (conditions(Some("\"a\""), None, None, None), Proceed),
            (conditions(Some("a"), None, None, None), Proceed),
            (conditions(Some("*"), None, None, None), Proceed),
            (conditions(Some("\"b\", \"a\""), None, None, None), Proceed),
            (conditions(Some("\"b\""), None, None, None), Failed),
            (conditions(None, Some(9), None, None), Failed),
            (conditions(None, Some(10), None, None), Proceed),
            (conditions(None, None, Some("W/\"a\""), None), NotModified),
            (conditions(None, None, Some("*"), None), NotModified),
            (conditions(None, None, Some("b"), None), Proceed),
            (conditions(None, None, None, Some(10)), NotModified),
            (conditions(None, None, None, Some(9)), Proceed),
        ] {
            assert_eq!(conditions.decide("a", 10), expected, "{conditions:?}");
        }
    }

    #[test]
    fn etags_take_precedence_over_dates() {
        let held = conditions(Some("a"), Some(1), None, None);
        assert_eq!(held.decide("a", 10), Outcome::Proceed);
        let unheld = conditions(None, None, Some("a"), Some(1));
        assert_eq!(unheld.decide("a", 10), Outcome::NotModified);
        let other = conditions(None, None, Some("b"), Some(99));
        assert_eq!(other.decide("a", 10), Outcome::Proceed);
    }
}
