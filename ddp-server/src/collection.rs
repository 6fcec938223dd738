//! Collections by name and type.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A collection's name together with the type of its documents.
///
/// ```
/// use ddp_server::Collection;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Task {
///     text: String,
/// }
/// const TASKS: Collection<Task> = Collection::new("tasks");
/// ```
pub struct Collection<T> {
    name: Cow<'static, str>,
    documents: PhantomData<fn() -> T>,
}

impl<T> Collection<T> {
    /// The collection that clients know by this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), documents: PhantomData }
    }

    /// A collection whose name is not known when the program is written.
    #[must_use]
    pub const fn named(name: String) -> Self {
        Self { name: Cow::Owned(name), documents: PhantomData }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), documents: PhantomData }
    }
}

impl<T> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collection").field(&self.name).finish()
    }
}
