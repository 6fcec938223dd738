//! Connection strings as people have them: those of libpq, and of tools that added options.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use tokio_postgres::config::SslMode;

use crate::error::Error;

/// Where libpq looks for the socket of a server on the same machine.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Options of libpq that mean nothing here, and of Prisma and others that are about their own pool.
const IGNORED: [&str; 19] = [
    "client_encoding",
    "connection_limit",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "pgbouncer",
    "pool_timeout",
    "replication",
    "requiressl",
    "socket_timeout",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcompression",
    "sslsni",
    "statement_cache_size",
];

/// What a connection string says.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) config: tokio_postgres::Config,
    #[cfg_attr(
        not(any(feature = "tls", test)),
        expect(dead_code, reason = "there is no TLS to configure")
    )]
    pub(crate) tls: TlsOptions,
}

/// How far a server must prove who it is, and what proves who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    pub(crate) verify: Verify,
    /// `sslrootcert`: the authorities to trust instead of the operating system's.
    pub(crate) roots: Option<PathBuf>,
    /// `sslcert` and `sslkey`.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// What must be right about a server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Nothing, as with libpq's `prefer` and `require`.
    #[default]
    Nothing,
    /// Who issued it: `verify-ca`, or `require` with `sslrootcert`.
    Issuer,
    /// Also the host's name: `verify-full`.
    Full,
}

impl Target {
    /// Reads a URL, or a libpq connection string of `name=value` pairs.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let url =
            ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let options = match url {
            Some(rest) => of_url(rest)?,
            None => of_pairs(text)?,
        };
        Self::of_options(options)
    }

    fn of_options(options: Vec<(String, String)>) -> Result<Self, Error> {
        let mut tls = TlsOptions::default();
        let (mut mode, mut certificate, mut key) = (None, None, None);
        let mut settings = String::new();
        // tokio-postgres reads the rest, which it takes as a connection string only.
        let mut rest = String::new();
        let mut keep = |name: &str, value: &str| {
            rest.push_str(&format!(
                "{name}='{}' ",
                value.replace('\\', r"\\").replace('\'', r"\'")
            ));
        };
        for (name, value) in options {
            match name.as_str() {
                _ if value.is_empty() => {}
                "sslmode" | "ssl" => mode = Some(value),
                "sslrootcert" if value == "system" => {}
                "sslrootcert" => tls.roots = Some(value.into()),
                "sslcert" => certificate = Some(value.into()),
                "sslkey" => key = Some(value.into()),
                // Prisma's: the schema in which unqualified names are found.
                "schema" => settings.push_str(&format!(" -c search_path={}", escaped(&value))),
                "options" => settings.insert_str(0, &value),
                // libpq has more of them; these are what they come to for a writer.
                "target_session_attrs" if value == "primary" => keep(&name, "read-write"),
                "target_session_attrs" if value == "standby" => keep(&name, "read-only"),
                name if IGNORED.contains(&name) => {
                    tracing::debug!(option = name, "an option of the connection string is ignored");
                }
                name => keep(name, &value),
            }
        }
        if !settings.is_empty() {
            keep("options", settings.trim_start());
        }
        tls.identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(Error::connection_string("sslcert and sslkey go together")),
        };
        let mut config: tokio_postgres::Config = rest.parse().map_err(Error::url)?;
        config.ssl_mode(tls.take_mode(mode.as_deref())?);
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            add_default_host(&mut config);
        }
        Ok(Self { config, tls })
    }
}

impl TlsOptions {
    /// Notes what must be verified; returns what is left of the mode.
    fn take_mode(&mut self, mode: Option<&str>) -> Result<SslMode, Error> {
        Ok(match mode {
            Some("disable" | "false") => SslMode::Disable,
            // Both of libpq's may encrypt or not; only the order of attempts differs.
            None | Some("allow" | "prefer") => SslMode::Prefer,
            Some("require" | "true") => {
                // As libpq does for compatibility.
                if self.roots.is_some() {
                    self.verify = Verify::Issuer;
                }
                SslMode::Require
            }
            Some("verify-ca") => {
                self.verify = Verify::Issuer;
                SslMode::Require
            }
            Some("verify-full") => {
                self.verify = Verify::Full;
                SslMode::Require
            }
            Some(other) => {
                return Err(Error::connection_string(format!(
                    "sslmode is disable, prefer, require, verify-ca or verify-full, not {other:?}"
                )));
            }
        })
    }
}

/// The options of a URL without its scheme.
fn of_url(rest: &str) -> Result<Vec<(String, String)>, Error> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let mut options = Vec::new();
    let hosts = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            options.push(("user".to_owned(), decoded(user)?));
            options.push(("password".to_owned(), decoded(password)?));
            hosts
        }
        // Nothing else in a URL has one.
        None if rest.split('?').next().is_some_and(|path| path.contains('@')) => {
            return Err(Error::connection_string(RESERVED));
        }
        None => authority,
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    add_hosts(hosts, &mut options)?;
    options.push(("dbname".to_owned(), decoded(path.strip_prefix('/').unwrap_or(path))?));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        options.push((decoded(name)?, decoded(value)?));
    }
    Ok(options)
}

const RESERVED: &str = "it cannot be taken apart: write reserved characters of the user and the password as \
     %XX, such as %2F for / and %40 for @";

fn add_hosts(hosts: &str, options: &mut Vec<(String, String)>) -> Result<(), Error> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((address, port)) => (address, port.strip_prefix(':').unwrap_or(port)),
            None => host.split_once(':').unwrap_or((host, "")),
        };
        if port.parse::<u16>().is_err() && !port.is_empty() {
            // Without the text, which may be a part of the password.
            return Err(Error::connection_string(format!(
                "the port is not a number; if it is one, {RESERVED}"
            )));
        }
        names.push(decoded(name)?);
        ports.push(port.to_owned());
    }
    if names.iter().any(|name| !name.is_empty()) {
        options.push(("host".to_owned(), names.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        options.push(("port".to_owned(), ports.join(",")));
    }
    Ok(())
}

/// Without a `+` for a space, as in libpq.
fn decoded(text: &str) -> Result<String, Error> {
    let mut parts = text.split('%').skip(1);
    let is_escape = |part: &str| part.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !parts.all(is_escape) {
        return Err(Error::connection_string(
            "a % that no two hexadecimal digits follow: write it as %25",
        ));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| Error::connection_string("it is not UTF-8"))?.into_owned())
}

/// The options of `name=value` pairs; values may be quoted.
fn of_pairs(text: &str) -> Result<Vec<(String, String)>, Error> {
    let malformed = || {
        Error::connection_string(
            "it is neither a URL such as postgres://user@host/database nor a list of name=value pairs",
        )
    };
    let mut options = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').ok_or_else(malformed)?;
        let value = value.trim_start();
        let is_quoted = value.starts_with('\'');
        let mut characters = value.char_indices().skip(usize::from(is_quoted));
        let (mut text, mut end) = (String::new(), None);
        while let Some((index, character)) = characters.next() {
            match character {
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                '\'' if is_quoted => {
                    end = Some(index + 1);
                    break;
                }
                blank if !is_quoted && blank.is_whitespace() => {
                    end = Some(index);
                    break;
                }
                other => text.push(other),
            }
        }
        if is_quoted && end.is_none() {
            return Err(malformed());
        }
        options.push((name.trim().to_owned(), text));
        rest = value[end.unwrap_or(value.len())..].trim_start();
    }
    Ok(options)
}

/// A value within `options`.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace(' ', r"\ ")
}

/// The server on this machine, by its socket if there is one.
fn add_default_host(config: &mut tokio_postgres::Config) {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let socket = |folder: &&&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    config.host(SOCKET_FOLDERS.iter().find(socket).copied().unwrap_or("localhost"));
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::{Host, TargetSessionAttrs};

    use super::*;

    fn parse(text: &str) -> Target {
        Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn error(text: &str) -> String {
        let error = Target::parse(text).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
        error
    }

    #[test]
    fn urls_of_all_kinds() {
        let target = parse(
            "postgresql://us%40er:s3cret%2F%3a@db.example.com:6432/my%20app?application_name=a%26b\
             &connect_timeout=3&target_session_attrs=primary&channel_binding=require&gssencmode=disable",
        );
        let config = &target.config;
        assert_eq!((config.get_user(), config.get_dbname()), (Some("us@er"), Some("my app")));
        assert_eq!(config.get_password(), Some(&b"s3cret/:"[..]));
        assert_eq!(config.get_hosts(), [Host::Tcp("db.example.com".to_owned())]);
        assert_eq!((config.get_ports(), config.get_application_name()), (&[6432][..], Some("a&b")));
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        // Unescaped, as long as it is not ambiguous.
        let config = parse("postgres://user:p@ss:w#rd'\\@localhost/app").config;
        assert_eq!(config.get_password(), Some(&b"p@ss:w#rd'\\"[..]));
        let config = parse("postgres://a:1,[::1]:2,c/app").config;
        let hosts = ["a", "::1", "c"].map(|host| Host::Tcp(host.to_owned()));
        assert_eq!((config.get_hosts(), config.get_ports()), (&hosts[..], &[1, 2, 5432][..]));
        let config = parse("postgres://%2Fvar%2Frun/app").config;
        assert_eq!(config.get_hosts(), [Host::Unix("/var/run".into())]);
        assert_eq!(parse("postgres:///app").config.get_hosts().len(), 1, "this machine");
        assert_eq!(parse("postgres://h?user=me").config.get_user(), Some("me"));
    }

    #[test]
    fn connection_strings_of_pairs() {
        let config =
            parse(r"host=h user = 'a b' password='it\'s' dbname=a\ b options='-c x=1'").config;
        assert_eq!((config.get_user(), config.get_dbname()), (Some("a b"), Some("a b")));
        assert_eq!(
            (config.get_password(), config.get_options()),
            (Some(&b"it's"[..]), Some("-c x=1"))
        );
    }

    #[test]
    fn tls_as_in_libpq() {
        let tls = |url: &str| {
            let target = parse(url);
            (target.config.get_ssl_mode(), target.tls.verify)
        };
        for (mode, expected) in [
            ("", (SslMode::Prefer, Verify::Nothing)),
            ("?sslmode=allow", (SslMode::Prefer, Verify::Nothing)),
            ("?sslmode=disable", (SslMode::Disable, Verify::Nothing)),
            ("?sslmode=require", (SslMode::Require, Verify::Nothing)),
            ("?sslmode=require&sslrootcert=/a.pem", (SslMode::Require, Verify::Issuer)),
            ("?sslmode=verify-ca", (SslMode::Require, Verify::Issuer)),
            ("?sslmode=verify-full&sslrootcert=system", (SslMode::Require, Verify::Full)),
        ] {
            assert_eq!(tls(&format!("postgres://h/d{mode}")), expected, "{mode}");
        }
        let tls = parse("postgres://h?sslcert=c.pem&sslkey=k.pem&sslrootcert=r.pem").tls;
        assert_eq!(tls.identity, Some(("c.pem".into(), "k.pem".into())));
        assert_eq!(tls.roots, Some("r.pem".into()));
        assert!(error("postgres://h?sslcert=c.pem").contains("go together"));
        assert!(error("postgres://h?sslmode=always").contains("verify-full, not \"always\""));
    }

    #[test]
    fn settings_are_kept_and_a_schema_is_one() {
        let options = |url: &str| parse(url).config.get_options().map(str::to_owned);
        let both = options("postgres://h/d?options=-c%20statement_timeout%3D5s&schema=my%20app");
        assert_eq!(both.as_deref(), Some(r"-c statement_timeout=5s -c search_path=my\ app"));
        assert_eq!(options("postgres://h/d?connection_limit=5&pgbouncer=true"), None);
    }

    #[test]
    fn errors_name_the_remedy_and_no_password() {
        assert!(error("postgres://user:s3cret/@h/d").contains("%2F for /"));
        assert!(error("postgres://user:s3cret%zz@h/d").contains("%25"));
        assert!(error("localhost/app").contains("postgres://user@host/database"));
        assert!(error("host=a password='s3cret").contains("postgres://user@host/database"));
        assert_eq!(
            error("postgres://h/d?sslrootcerts=a"),
            "invalid connection string: unknown option `sslrootcerts`"
        );
    }
}
