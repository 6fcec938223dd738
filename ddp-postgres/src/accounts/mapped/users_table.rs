//! Which columns of a table of users say what.

/// A table of users that another program has made, for
/// [`AccountsTables::existing`](super::super::AccountsTables::existing).
///
/// ```
/// use ddp_postgres::accounts::{AccountsTables, PasswordColumn, UsersTable};
///
/// let django = AccountsTables::existing(UsersTable::django());
/// // A model of Rails, with Devise.
/// let rails = AccountsTables::existing(
///     UsersTable::new("users")
///         .email("email")
///         .verified("confirmed_at")
///         .name(["first_name", "last_name"])
///         .created_at("created_at")
///         .password(PasswordColumn::Devise, "encrypted_password"),
/// );
/// # let _ = (django, rails);
/// ```
///
/// Names of columns are those of the table, written as they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct UsersTable {
    pub(in crate::accounts) schema: String,
    pub(in crate::accounts) table: String,
    pub(in crate::accounts) id: String,
    pub(in crate::accounts) username: Option<String>,
    pub(in crate::accounts) email: Option<String>,
    pub(in crate::accounts) verified: Verified,
    pub(super) name: Vec<String>,
    pub(super) created_at: Option<String>,
    pub(in crate::accounts) is_active: Option<String>,
    pub(in crate::accounts) password: Option<(PasswordColumn, String)>,
    pub(super) roles: Vec<(String, String)>,
}

/// Whether the address of a user is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::accounts) enum Verified {
    /// Once the user has followed a link of ours.
    ByLink,
    /// Of all users.
    Always,
    /// If this column says so.
    Column(String),
}

/// Whose hashes a column of passwords has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordColumn {
    /// Django's: a new password is stored as `bcrypt_sha256$…`, which Django compares as well.
    Django,
    /// Devise's, bcrypt of the password itself. It cannot be made of what Meteor's clients send, so a
    /// password that is set here empties the column.
    Devise,
}

impl UsersTable {
    /// A table of the schema `public`, whose key is the column `id`.
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            schema: "public".to_owned(),
            table: table.into(),
            id: "id".to_owned(),
            username: None,
            email: None,
            verified: Verified::ByLink,
            name: Vec::new(),
            created_at: None,
            is_active: None,
            password: None,
            roles: Vec::new(),
        }
    }

    /// Django's `auth_user`. Its `is_staff` and `is_superuser` are the roles `staff` and `superuser`.
    pub fn django() -> Self {
        Self::django_model("auth_user")
    }

    /// The table of a model that is made of Django's `AbstractUser`, such as `accounts_user`.
    pub fn django_model(table: impl Into<String>) -> Self {
        Self::new(table)
            .username("username")
            .email("email")
            .name(["first_name", "last_name"])
            .created_at("date_joined")
            .is_active("is_active")
            .password(PasswordColumn::Django, "password")
            .role("staff", "is_staff")
            .role("superuser", "is_superuser")
    }

    /// The schema that the table is in; `public`.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// The column of the primary key, of any type; `id`. The user's id is its text.
    pub fn id(mut self, column: impl Into<String>) -> Self {
        self.id = column.into();
        self
    }

    /// The column of the username.
    pub fn username(mut self, column: impl Into<String>) -> Self {
        self.username = Some(column.into());
        self
    }

    /// The column of the address: a user has one, or none if it is empty.
    pub fn email(mut self, column: impl Into<String>) -> Self {
        self.email = Some(column.into());
        self
    }

    /// The column that says whether the address is verified: true, or a time. Without it, an address is
    /// verified by the links that [`Accounts`](ddp_server::accounts::Accounts) mails.
    pub fn verified(mut self, column: impl Into<String>) -> Self {
        self.verified = Verified::Column(column.into());
        self
    }

    /// All addresses are verified, because the other program asks for no others.
    pub fn all_verified(mut self) -> Self {
        self.verified = Verified::Always;
        self
    }

    /// The columns that make up `profile.name`, with spaces between them.
    pub fn name<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.name = columns.into_iter().map(Into::into).collect();
        self
    }

    /// The column of the time when a user was created. One without a time zone is in UTC.
    pub fn created_at(mut self, column: impl Into<String>) -> Self {
        self.created_at = Some(column.into());
        self
    }

    /// The boolean column that says whether a user may log in.
    pub fn is_active(mut self, column: impl Into<String>) -> Self {
        self.is_active = Some(column.into());
        self
    }

    /// The column of the password's hash, and whose hashes it has.
    pub fn password(mut self, kind: PasswordColumn, column: impl Into<String>) -> Self {
        self.password = Some((kind, column.into()));
        self
    }

    /// A boolean column that gives its users a role: a text in the field `roles` of the user's document,
    /// which clients see if the field is named by
    /// [`default_field_selector`](ddp_server::accounts::Accounts::default_field_selector).
    pub fn role(mut self, role: impl Into<String>, column: impl Into<String>) -> Self {
        self.roles.push((role.into(), column.into()));
        self
    }

    /// Takes all roles away.
    pub fn without_roles(mut self) -> Self {
        self.roles.clear();
        self
    }

    pub(in crate::accounts) fn has_roles(&self) -> bool {
        !self.roles.is_empty()
    }
}
