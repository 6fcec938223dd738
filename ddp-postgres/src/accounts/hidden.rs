//! Parameters that no log shows.

use std::error::Error;
use std::fmt;

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

/// A parameter of a statement. The driver logs parameters as their `Debug` shows them, and those of accounts
/// have hashes of passwords and tokens among them.
pub(super) struct Hidden<'a>(pub(super) &'a (dyn ToSql + Sync));

impl ToSql for Hidden<'_> {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql_checked(of, out)
    }

    fn to_sql_checked(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql_checked(of, out)
    }

    fn accepts(_: &Type) -> bool {
        // The parameter itself looks at the type when it is written.
        true
    }

    fn encode_format(&self, of: &Type) -> Format {
        self.0.encode_format(of)
    }
}

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
