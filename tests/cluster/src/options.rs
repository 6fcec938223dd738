//! How to start a cluster.

use std::path::PathBuf;

/// Where a cluster keeps its data and how its server is set up.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ClusterOptions {
    pub(crate) folder: Option<PathBuf>,
    pub(crate) port: Option<u16>,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) locale: Option<String>,
}

impl ClusterOptions {
    /// A cluster in a new temporary folder. It is removed when the [`Cluster`](crate::Cluster) is
    /// dropped, and also when this program ends in any other way.
    pub fn temporary() -> Self {
        Self::default()
    }

    /// A cluster that keeps its data in this folder, which is made if it is missing.
    ///
    /// A second program that names the same folder joins the running cluster.
    pub fn persistent(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..Self::default() }
    }

    /// Listens on this port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Starts the server with a setting, as in `postgresql.conf`.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Compiles a locale that the system may not have installed, such as `de_DE`, for this server alone,
    /// which then knows it as `de_DE.UTF-8`. Its sources must be there (Debian's package `locales`).
    pub fn locale(mut self, name: impl Into<String>) -> Self {
        self.locale = Some(name.into());
        self
    }

    /// Trades safety against a crash of the operating system for speed, which suits tests.
    pub fn without_durability(self) -> Self {
        self.setting("fsync", "off").setting("full_page_writes", "off")
    }
}
