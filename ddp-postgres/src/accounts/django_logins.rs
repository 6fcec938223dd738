//! Logins of users whom Django knows already, by its tokens or its sessions.

use std::error::Error as StdError;

use bytes::BytesMut;
use ddp_server::Error;
use ddp_server::accounts::{Login, LoginHandler, LoginRequest, TokenGuard};
use ddp_server::ejson::{Date, Ejson};
use ddp_server::log::Log;
use postgres_types::to_sql_checked;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

use super::django::{DjangoSessions, Refusal, STORED_BYTES_MAX, SessionUser};
use super::mapped::{PasswordColumn, UsersTable, quote};
use super::row::millis_sql;
use super::store::PostgresAccounts;

/// A longer text is no token: those of Django REST framework have 40 letters and digits.
const TOKEN_BYTES_MAX: usize = 64;

impl PostgresAccounts {
    /// Logs users in by the tokens of Django REST framework, `rest_framework.authtoken`: `login` with
    /// `{authtoken: "<token>"}`, for [`Accounts::login_handler`](ddp_server::accounts::Accounts::login_handler).
    ///
    /// ```no_run
    /// # use ddp_postgres::Db;
    /// # use ddp_server::accounts::Accounts;
    /// # fn accounts(db: &Db) -> Accounts {
    /// Accounts::new(db.accounts()).login_handler(db.accounts().django_tokens())
    /// # }
    /// ```
    ///
    /// A login is one SELECT on `authtoken_token`, beside what every login does. The server's role needs
    /// `GRANT SELECT (key, user_id) ON authtoken_token`, and `USAGE` on its schema; without them clients get
    /// 500, and the log says so. Who is not active is refused; no second factor of ours is asked for. The
    /// client is given a login token as after every login, by which it is logged in again: deleting Django's
    /// token does not end that one.
    ///
    /// # Panics
    /// If the users are not those of [Django's table](super::AccountsTables::existing).
    #[must_use]
    pub fn django_tokens(&self) -> LoginHandler {
        self.django_users("django_tokens");
        let store = self.clone();
        LoginHandler::new("authtoken", move |request| {
            let store = store.clone();
            async move {
                let Some(value) = request.options().get("authtoken") else { return Ok(None) };
                let key = value.as_str().filter(|_| request.options().len() == 1);
                store.log_in_by_token(key.ok_or_else(match_failed)?, &request).await.map(Some)
            }
        })
    }

    /// Logs users in by the session cookie that their browser has of Django: `login` with
    /// `{djangoSession: true}`, for
    /// [`Accounts::login_handler`](ddp_server::accounts::Accounts::login_handler).
    ///
    /// ```no_run
    /// # use ddp_postgres::{Db, accounts::DjangoSessions};
    /// # use ddp_server::{NotAnOrigin, Origins, Server, ServerConfig, accounts::Accounts};
    /// # fn server(db: &Db, secret_key: &str) -> Result<Server, NotAnOrigin> {
    /// let sessions = db.accounts().django_sessions(DjangoSessions::database(secret_key));
    /// let mut config = ServerConfig::default();
    /// // The pages that Django serves. Without this, no server is built.
    /// config.allowed_origins = Origins::only(["https://app.example.com"])?;
    /// let accounts = Accounts::new(db.accounts()).login_handler(sessions);
    /// # Ok(
    /// Server::builder().config(config).plugin(accounts).build()
    /// # )
    /// # }
    /// ```
    ///
    /// The cookie is that of the request that opened the connection, and is
    /// [kept](ddp_server::ServerBuilder::keep_cookie) only if a page of the allowed origins sent it, and until
    /// the client logs out. So
    /// browsers must send it to this server as well: it is at Django's host, under another path or port, or
    /// Django's `SESSION_COOKIE_DOMAIN` has both. Leave `SESSION_COOKIE_SAMESITE` as it is, `Lax`.
    ///
    /// As in Django, the signature must be right, the session not expired, the user active, and the password
    /// the one that the session began with. The login token that the client is given ends with the session, but
    /// not with the browser: for sessions that last so long (`set_expiry(0)`,
    /// `SESSION_EXPIRE_AT_BROWSER_CLOSE`), have Meteor's client keep it by
    /// `Accounts.config({clientStorage: "session"})`;
    /// a [change of the password](super#users-of-another-program) ends it before. That Django logs the user
    /// out does not: the page calls `Meteor.logout()` as well. Which of Django's authentication backends
    /// logged the user in is not looked at, and no second factor of ours is asked for.
    ///
    /// Sessions are those of Django 3.1 and later, as JSON of at most 64 KiB; pickles are refused, and the
    /// log says so. The server's role needs `GRANT SELECT (id, password) ON auth_user`, and for sessions in
    /// the database `GRANT SELECT (session_key, session_data, expire_date) ON django_session`. A login is a
    /// SELECT on each of them, beside what every login does.
    ///
    /// # Panics
    /// If the users are not those of [Django's table](super::AccountsTables::existing), with its column of
    /// passwords.
    #[must_use]
    pub fn django_sessions(&self, sessions: DjangoSessions) -> LoginHandler {
        let users = self.django_users("django_sessions");
        let is_django = |(kind, _): &(PasswordColumn, String)| *kind == PasswordColumn::Django;
        assert!(
            users.password.as_ref().is_some_and(is_django),
            "django_sessions compares passwords: name Django's column by \
             UsersTable::password(PasswordColumn::Django, …)"
        );
        let (store, log) = (self.clone(), Log::default());
        let cookie_name = sessions.cookie_name.clone();
        let handler = LoginHandler::new("djangoSession", move |request| {
            let (store, sessions, log) = (store.clone(), sessions.clone(), log.clone());
            async move {
                let Some(value) = request.options().get("djangoSession") else { return Ok(None) };
                if *value != Ejson::Bool(true) || request.options().len() != 1 {
                    return Err(match_failed());
                }
                store.log_in_by_session(&sessions, &request, &log).await.map(Some)
            }
        });
        handler.cookie(&cookie_name)
    }

    /// Panics if there is no other program's table.
    fn django_users(&self, what: &str) -> &UsersTable {
        self.accounts.tables.existing.as_ref().unwrap_or_else(|| {
            panic!(
                "{what} is for Django's users: name their table by \
                 AccountsTables::existing(UsersTable::django())"
            )
        })
    }

    async fn log_in_by_token(&self, key: &str, request: &LoginRequest) -> Result<Login, Error> {
        let is_key = (1..=TOKEN_BYTES_MAX).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic());
        let table = self.django_table("authtoken_token");
        // A column is varchar, for which pg_catalog has no operator of its own: one of exactly that type in
        // any other schema of the search_path would be taken.
        let sql = format!(
            "SELECT t.user_id::text FROM {table} t WHERE t.key::text OPERATOR(pg_catalog.=) $1"
        );
        let found = if is_key { self.read_django(&sql, &[&key]).await? } else { None };
        let Some(row) = found else { return Err(request.refusal("User not found")) };
        Ok(Login::user(row.try_get::<_, String>(0)?))
    }

    async fn log_in_by_session(
        &self,
        sessions: &DjangoSessions,
        request: &LoginRequest,
        log: &Log,
    ) -> Result<Login, Error> {
        let connection = request.connection();
        let cookie = connection.and_then(|connection| connection.cookie(&sessions.cookie_name));
        match self.find_session(sessions, cookie).await? {
            Ok(login) => Ok(login),
            Err(refusal) => {
                tell(log, &refusal);
                let error = request.refusal(&refusal.to_string());
                match refusal {
                    Refusal::OtherPassword(user_id) => Ok(Login::refused(Some(user_id), error)),
                    _ => Err(error),
                }
            }
        }
    }

    /// The login of whoever has this cookie, or why nobody is logged in by it.
    async fn find_session(
        &self,
        sessions: &DjangoSessions,
        cookie: Option<&str>,
    ) -> Result<Result<Login, Refusal>, Error> {
        let Some(cookie) = cookie else { return Ok(Err(Refusal::NoCookie)) };
        let found = match sessions.row_key(cookie) {
            Ok(Some(key)) => self.find_stored_session(sessions, key).await?,
            Ok(None) => sessions.read_cookie(cookie, std::time::SystemTime::now().into()),
            Err(refusal) => Err(refusal),
        };
        match found {
            Ok((user, expires)) => self.check_session(sessions, user, expires).await,
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The user of a session in the table, and when it ends.
    async fn find_stored_session(
        &self,
        sessions: &DjangoSessions,
        key: &str,
    ) -> Result<Result<(SessionUser, Date), Refusal>, Error> {
        let (table, expires) = (self.django_table("django_session"), millis_sql("s.expire_date"));
        let sql = format!(
            "SELECT CASE WHEN pg_catalog.octet_length(s.session_data) <= {STORED_BYTES_MAX}
                THEN s.session_data END, {expires},
                s.expire_date OPERATOR(pg_catalog.>) pg_catalog.now()
            FROM {table} s WHERE s.session_key::text OPERATOR(pg_catalog.=) $1"
        );
        let Some(row) = self.read_django(&sql, &[&key]).await? else {
            return Ok(Err(Refusal::Unknown));
        };
        if !row.try_get::<_, bool>(2)? {
            return Ok(Err(Refusal::Expired));
        }
        let expires = Date::from_millis(row.try_get(1)?);
        Ok(sessions.read_row(row.try_get(0)?).map(|user| (user, expires)))
    }

    /// Compares the password of then with that of now, which must still be the same as the login token is
    /// stored.
    async fn check_session(
        &self,
        sessions: &DjangoSessions,
        user: SessionUser,
        expires: Date,
    ) -> Result<Result<Login, Refusal>, Error> {
        let users = self.django_users("django_sessions");
        let (_, password) = users.password.as_ref().expect("it was looked at before");
        let sql = format!(
            "SELECT t.{}::text, p.hash FROM {} t LEFT JOIN accounts.passwords p ON p.user_id = $2
            WHERE t.{} OPERATOR(pg_catalog.=) $1",
            quote(password),
            self.django_table(&users.table),
            quote(&users.id),
        );
        let found = match self.try_read(&sql, &[&AsText(&user.id), &user.id]).await {
            // The session is of another model, whose keys had another type.
            Err(error) if is_no_key(&error) => None,
            found => first_row(found)?,
        };
        let Some(row) = found else { return Ok(Err(Refusal::Nobody)) };
        if let Err(refusal) = sessions.check_password(&user, row.try_get(0)?) {
            return Ok(Err(refusal));
        }
        // Ours of the same password; there is none if nobody can log in by it.
        let hash: Option<String> = row.try_get(1)?;
        let guard = hash.map_or(TokenGuard::NoPassword, |hash| TokenGuard::Password(hash.into()));
        Ok(Ok(Login::user(user.id).guard(guard).expires(expires)))
    }

    /// The name of a table of Django, which is in the schema of its users.
    fn django_table(&self, table: &str) -> String {
        let schema = self.accounts.tables.existing.as_ref().map(|users| users.schema.as_str());
        format!("{}.{}", quote(schema.unwrap_or("public")), quote(table))
    }

    /// Reads at most one row of Django's tables.
    async fn read_django(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        first_row(self.try_read(sql, params).await)
    }
}

/// At most one row of Django's tables. The log says what the role may lack.
fn first_row(read: Result<Vec<Row>, crate::error::Error>) -> Result<Option<Row>, Error> {
    match read {
        Ok(rows) => Ok(rows.into_iter().next()),
        Err(error) if may_not_read(&error) => Err(Error::internal(format!(
            "cannot read Django's tables: {error}: run Django's migrations, GRANT USAGE ON SCHEMA on theirs, and \
             GRANT SELECT on the columns that the documentation of PostgresAccounts::django_tokens and \
             django_sessions names"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Whether a text is not a value of the type of keys, or one out of its range.
fn is_no_key(error: &crate::error::Error) -> bool {
    let codes = [SqlState::INVALID_TEXT_REPRESENTATION, SqlState::NUMERIC_VALUE_OUT_OF_RANGE];
    error.code().is_some_and(|code| codes.contains(code))
}

/// Whether something is not there, or not for this role.
fn may_not_read(error: &crate::error::Error) -> bool {
    let codes = [
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::INVALID_SCHEMA_NAME,
    ];
    error.code().is_some_and(|code| codes.contains(code))
}

/// Says in the log what may be wrong with how the two programs are set up. Clients may cause it as often as
/// they like.
fn tell(log: &Log, refusal: &Refusal) {
    let why = match refusal {
        Refusal::NoCookie => {
            tracing::debug!(
                "no session cookie: the browser has sent none to this host, the page is not one of \
                 allowed_origins, or DjangoSessions::cookie_name is not Django's SESSION_COOKIE_NAME"
            );
            return;
        }
        Refusal::Malformed => {
            "it has not the form of one: DjangoSessions::database and signed_cookies are for other values of \
             Django's SESSION_ENGINE, or Django is older than 3.1"
                .to_owned()
        }
        Refusal::OtherPassword(_) => {
            "the password has changed since, or Django hashes it in another way: by a SECRET_KEY that \
             DjangoSessions has not, by an own get_session_auth_hash, or by \
             DEFAULT_HASHING_ALGORITHM = \"sha1\""
                .to_owned()
        }
        Refusal::Unreadable(unreadable) => unreadable.to_string(),
        Refusal::Signature => {
            "its signature is wrong: somebody forged it, or DjangoSessions has not Django's SECRET_KEY".to_owned()
        }
        _ => return,
    };
    log.line("a session of Django was refused", &why, "", |why, _, count| {
        tracing::warn!(why, count, "a session of Django was refused");
    });
}

/// Meteor's error for an argument of another form.
fn match_failed() -> Error {
    ddp_core::DdpError::match_failed().into()
}

/// A parameter as its text, whatever the type of the column is that it is compared with.
#[derive(Debug)]
struct AsText<'a>(&'a str);

impl ToSql for AsText<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
