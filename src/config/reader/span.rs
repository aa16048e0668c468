//! Where something stands in the text that is read.

use std::ops::Range;

/// Bytes of a file.
pub(in crate::config) type Span = Range<usize>;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Spanned<T> {
    pub(in crate::config) value: T,
    pub(in crate::config) span: Span,
}

impl<T> Spanned<T> {
    pub(in crate::config) fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}
