//! TLS over a [lent](Lent) socket.

use std::io;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect, TlsStream};

use super::lent::Lent;
use crate::db::tls::Tls;
use crate::error::Error;

/// TLS that keeps a share of its stream for us.
pub(super) struct LendingTls {
    connector: <Tls as MakeTlsConnect<Lent>>::TlsConnect,
    left: Arc<Mutex<Lent>>,
}

impl LendingTls {
    pub(super) fn new(tls: &Tls, host: &str, left: Arc<Mutex<Lent>>) -> Result<Self, Error> {
        let connector = MakeTlsConnect::<Lent>::make_tls_connect(&mut tls.clone(), host);
        let connector =
            connector.map_err(|error| Error::replication(io::Error::other(error).into()))?;
        Ok(Self { connector, left })
    }
}

impl TlsConnect<Lent> for LendingTls {
    type Stream = Lent;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Lent>>;

    fn connect(self, mut stream: Lent) -> Self::Future {
        // From now on only TLS writes to it.
        stream.is_startup = false;
        let Self { connector, left } = self;
        async move {
            let stream = connector.connect(stream).await?;
            let binding = stream.channel_binding();
            let lent = Lent::new(Box::new(stream));
            *lent.binding.lock() = Some(binding);
            *left.lock() = lent.share();
            Ok(lent)
        }
        .boxed()
    }
}
