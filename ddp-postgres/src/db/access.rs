//! How the database is reached.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};

use super::dial::{CONNECT_TIMEOUT, Dialler, names};
use super::tls::{self, Tls};
use super::url::Target;
use crate::error::Error;
use crate::schema;

/// How to connect.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: Tls,
    /// Without the options that connections start with.
    plain: tokio_postgres::Config,
    /// Whether a pooler refused these.
    pub(super) is_without_options: bool,
}

impl Access {
    /// `tls` takes the place of what the connection string says.
    pub(super) fn new(url: &str, tls: Option<&Tls>) -> Result<Self, Error> {
        let target = Target::parse(url)?;
        let tls = match tls {
            Some(tls) => tls.clone(),
            None => tls::of(&target)?,
        };
        let mut plain = target.config;
        if plain.get_application_name().is_none() {
            plain.application_name("ddp");
        }
        if plain.get_connect_timeout().is_none() {
            plain.connect_timeout(CONNECT_TIMEOUT);
        }
        // A connection that died silently must not leave clients stale for long.
        plain.keepalives_idle(Duration::from_secs(10));
        plain.keepalives_interval(Duration::from_secs(5));
        plain.keepalives_retries(3);
        plain.tcp_user_timeout(Duration::from_secs(25));
        // So that a row reads the same in a SELECT as in a trigger's message. `DISCARD ALL` does not
        // undo what a connection started with.
        let mut config = plain.clone();
        let options = config.get_options().unwrap_or_default();
        config.options(format!("{options} {}", schema::SESSION_OPTIONS));
        Ok(Self { config, tls, plain, is_without_options: false })
    }

    /// Connects as a pooler wants it that knows no options.
    pub(super) fn leave_options_out(&mut self) {
        self.config = self.plain.clone();
        self.is_without_options = true;
    }

    /// How long it may take to find out that no host is to be had, if each has one address.
    pub(super) fn connect_within(&self) -> Duration {
        let limit = self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        limit.saturating_mul(u32::try_from(names(&self.config).len()).unwrap_or(u32::MAX))
    }

    /// A pool of so many connections, for which one waits so long when all are in use. Making one takes
    /// as long as [`dial`](super::dial::dial) lets it, so that none is lost to a peer that says nothing.
    pub(super) fn pool(&self, connections_max: usize, wait: Duration) -> Result<Pool, Error> {
        let recycling_method = RecyclingMethod::Fast;
        let dialler = Dialler { tls: self.tls.clone(), sql: schema::session_sql() };
        let config = ManagerConfig { recycling_method };
        let manager = Manager::from_connect(self.config.clone(), dialler, config);
        Pool::builder(manager)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(wait))
            .max_size(connections_max)
            .build()
            .map_err(Error::build)
    }

    /// The hosts and the database, for error texts.
    pub(super) fn name(&self) -> String {
        let hosts = names(&self.config);
        match self.config.get_dbname() {
            Some(name) => format!("{} (database {name:?})", hosts.join(", ")),
            None => hosts.join(", "),
        }
    }
}
