//! A mail server for tests, which keeps what it is sent.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::CertifiedKey;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduct {
    Plain,
    StartTls,
    /// TLS from the beginning.
    Wrapped,
    /// Says nothing once the client is there.
    Silent,
}

pub(super) struct Sink {
    pub(super) port: u16,
    /// The certificate, in PEM.
    pub(super) certificate: String,
    /// For each mail what the client said before it, and the mail.
    pub(super) mails: UnboundedReceiver<(Vec<String>, String)>,
}

impl Sink {
    pub(super) async fn start(conduct: Conduct) -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, mails) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    match conduct {
                        Conduct::Silent => {
                            // Keeps the socket open until the client goes.
                            let mut line = String::new();
                            let _ = BufReader::new(socket).read_line(&mut line).await;
                        }
                        Conduct::Plain => {
                            let _ = talk(socket, true, None, &sender).await;
                        }
                        Conduct::Wrapped => {
                            if let Ok(socket) = acceptor.accept(socket).await {
                                let _ = talk(socket, true, None, &sender).await;
                            }
                        }
                        Conduct::StartTls => {
                            let socket = talk(socket, true, Some(()), &sender).await;
                            let Some(socket) = socket.unwrap_or_default() else { return };
                            if let Ok(socket) = acceptor.accept(socket).await {
                                let _ = talk(socket, false, None, &sender).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, certificate: cert.pem(), mails }
    }

    /// The next mail, as it came.
    pub(super) async fn mail(&mut self) -> (Vec<String>, String) {
        self.mails.recv().await.expect("the sink runs")
    }
}

/// Talks with a client until it quits, or begins TLS: then this returns the socket.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    greets: bool,
    starts_tls: Option<()>,
    mails: &UnboundedSender<(Vec<String>, String)>,
) -> std::io::Result<Option<S>> {
    let mut socket = BufReader::new(socket);
    let mut said = Vec::new();
    if greets {
        socket.write_all(b"220 sink ESMTP\r\n").await?;
    }
    while let Some(line) = next_line(&mut socket).await? {
        said.push(line.clone());
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" if starts_tls.is_some() => "250-sink\r\n250-8BITMIME\r\n250 STARTTLS",
            "EHLO" => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "STARTTLS" => {
                socket.write_all(b"220 begin\r\n").await?;
                return Ok(Some(socket.into_inner()));
            }
            "AUTH"
                if STANDARD.decode(rest.trim_start_matches("PLAIN ")).ok().as_deref()
                    == Some(b"\0me\0s3cret") =>
            {
                "235 come in"
            }
            "AUTH" => {
                // Some servers do repeat what they got.
                let echo = format!("535 5.7.8 no: {rest}\r\n");
                socket.write_all(echo.as_bytes()).await?;
                continue;
            }
            "RCPT" if rest.contains("nobody@") => "550 5.1.1 nobody of that name",
            "MAIL" | "RCPT" | "NOOP" | "RSET" => "250 fine",
            "DATA" => {
                socket.write_all(b"354 go on\r\n").await?;
                let mut mail = String::new();
                while let Some(line) = next_line(&mut socket).await?.filter(|line| line != ".") {
                    mail.push_str(&line);
                    mail.push('\n');
                }
                let _ = mails.send((said.clone(), mail));
                "250 taken"
            }
            "QUIT" => break,
            _ => "502 what",
        };
        socket.write_all(answer.as_bytes()).await?;
        socket.write_all(b"\r\n").await?;
    }
    Ok(None)
}

async fn next_line<R: AsyncBufRead + Unpin>(from: &mut R) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let bytes = from.read_line(&mut line).await?;
    Ok((bytes > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}
