//! What handlers return.

use schemars::JsonSchema;

use super::generate;
use crate::handler::{MethodContext, PublicationContext};
use crate::live_query::{AnyCursor, Cursor};
use crate::signature::Signature;

/// What a [`typed`](super::typed) handler returns: a method (`C` is [`MethodContext`]) a `Result`
/// whose value has a schema, a publication (`C` is [`PublicationContext`]) cursors whose documents
/// have one, or nothing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a typed handler returns",
    note = "a method returns `Result<T, E>` and a publication `Cursor<T>`, where `T` has `#[derive(schemars::JsonSchema)]`"
)]
pub trait TypedOutput<C> {
    /// Adds the schemas.
    fn describe(_signature: &mut Signature) {}
}

impl<T: JsonSchema, E> TypedOutput<MethodContext> for Result<T, E> {
    fn describe(signature: &mut Signature) {
        signature.result = generate::output::<T>();
    }
}

impl TypedOutput<PublicationContext> for () {}

/// The types of their documents have been forgotten.
impl TypedOutput<PublicationContext> for Vec<AnyCursor> {}

impl<T: JsonSchema> TypedOutput<PublicationContext> for Cursor<T> {
    fn describe(signature: &mut Signature) {
        // A cursor of unknown type still has its place among the others.
        signature.documents.push(generate::output::<T>().unwrap_or(true.into()));
    }
}

impl<P: TypedOutput<PublicationContext>> TypedOutput<PublicationContext> for Option<P> {
    fn describe(signature: &mut Signature) {
        P::describe(signature);
    }
}

impl<P: TypedOutput<PublicationContext>, E> TypedOutput<PublicationContext> for Result<P, E> {
    fn describe(signature: &mut Signature) {
        P::describe(signature);
    }
}

macro_rules! cursor_tuples {
    ($($document:ident),*) => {
        impl<$($document: JsonSchema),*> TypedOutput<PublicationContext>
            for ($(Cursor<$document>,)*)
        {
            fn describe(signature: &mut Signature) {
                $(Cursor::<$document>::describe(signature);)*
            }
        }
    };
}

cursor_tuples!(A, B);
cursor_tuples!(A, B, C);
cursor_tuples!(A, B, C, D);
