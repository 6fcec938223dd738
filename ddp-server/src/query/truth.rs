//! SQL's three truth values, and a fourth for what only the data source can tell.

/// The answer of a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The document is wanted.
    True,
    /// It is not.
    False,
    /// A NULL is involved: neither the predicate nor its negation selects the document.
    Unknown,
    /// Only the data source itself can tell.
    Undecided,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// The negation.
pub(super) fn negate(truth: Truth) -> Truth {
    match truth {
        Truth::True => Truth::False,
        Truth::False => Truth::True,
        Truth::Unknown | Truth::Undecided => truth,
    }
}

/// Whether any of these holds.
pub(super) fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut answer = Truth::False;
    for truth in truths {
        match truth {
            Truth::True => return Truth::True,
            Truth::Undecided => answer = Truth::Undecided,
            Truth::Unknown if answer == Truth::False => answer = Truth::Unknown,
            Truth::Unknown | Truth::False => {}
        }
    }
    answer
}
