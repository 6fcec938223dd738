//! Mails, sent to a server in this process.

use lettre::transport::smtp::client::{Certificate, CertificateStore};

use super::sink::{Conduct, Sink};
use super::*;

fn mail() -> Mail {
    Mail {
        to: "ada@example.com".to_owned(),
        from: "Zoë <no-reply@example.com>".to_owned(),
        subject: "Tür öffnet sich".to_owned(),
        text: "Hello Ada,\n.\nhttps://app.example/#/reset-password/T\n".to_owned(),
        html: Some("<a href=\"https://app.example/#/reset-password/T\">ändern</a>".to_owned()),
        headers: vec![("My-Custom-Header".to_owned(), "Cool".to_owned())],
    }
}

/// A mailer that trusts this certificate only.
fn trusting(url: &str, certificate: &str) -> SmtpMailer {
    let certificate = Certificate::from_pem(certificate.as_bytes()).unwrap();
    SmtpMailer::open(MailUrl::parse(url).unwrap(), |host| {
        let tls = TlsParameters::builder(host).certificate_store(CertificateStore::None);
        tls.add_root_certificate(certificate).build()
    })
    .unwrap()
}

async fn refused(mailer: &SmtpMailer, mail: Mail) -> String {
    mailer.send(mail).await.unwrap_err().to_string()
}

#[tokio::test]
async fn text_and_html_arrive_in_any_script() {
    let mut sink = Sink::start(Conduct::Plain).await;
    let url = format!("smtp://me:s3cret@127.0.0.1:{}?name=app.example", sink.port);
    SmtpMailer::new(&url).unwrap().send(mail()).await.unwrap();
    let (said, mail) = sink.mail().await;
    assert_eq!(said[0], "EHLO app.example");
    assert!(said.iter().any(|line| line.starts_with("AUTH PLAIN ")));
    assert!(said.iter().any(|line| line == "MAIL FROM:<no-reply@example.com>"), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.starts_with("RCPT")).count(), 1);
    let (head, body) = mail.split_once("\n\n").unwrap();
    assert!(head.contains("Subject: =?utf-8?b?"), "{head}");
    assert!(head.contains("My-Custom-Header: Cool"), "{head}");
    assert!(head.contains("multipart/alternative"), "{head}");
    assert!(body.contains("text/plain") && body.contains("text/html"), "{body}");
    // A line with a dot alone does not end it.
    assert!(body.contains("\nhttps://app.example/#/reset-password/T"), "{body}");
    assert!(body.contains("=C3=A4ndern"), "{body}");
}

#[tokio::test]
async fn a_refusal_names_the_server_and_no_password() {
    let mut sink = Sink::start(Conduct::Plain).await;
    let port = sink.port;
    let mailer = SmtpMailer::new(&format!("smtp://me:s3cret@localhost:{port}")).unwrap();
    let nobody = Mail { to: "nobody@example.com".to_owned(), ..mail() };
    let error = refused(&mailer, nobody).await;
    assert!(error.contains(&format!("localhost:{port}")), "{error}");
    assert!(error.contains("550") && error.contains("nobody of that name"), "{error}");
    let wrong = SmtpMailer::new(&format!("smtp://me:wr0ng@localhost:{port}")).unwrap();
    let error = refused(&wrong, mail()).await;
    assert!(error.contains("refuses user and password of MAIL_URL (535)"), "{error}");
    let sent = STANDARD_OF_WRONG;
    let shown = format!("{error} {wrong:?} {mailer:?}");
    assert!(![sent, "wr0ng", "s3cret"].iter().any(|secret| shown.contains(secret)), "{shown}");
    assert!(sink.mails.try_recv().is_err());
    // What was refused leaves nothing behind.
    mailer.send(mail()).await.unwrap();
    sink.mail().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refused(&SmtpMailer::new(&format!("smtp://{closed}")).unwrap(), mail()).await;
    assert!(error.contains(&closed.to_string()), "{error}");
}

/// `\0me\0wr0ng`, as it is sent.
const STANDARD_OF_WRONG: &str = "AG1lAHdyMG5n";

#[tokio::test]
async fn without_tls_nothing_is_sent_to_a_server_that_needs_it() {
    let mut sink = Sink::start(Conduct::Plain).await;
    let port = sink.port;
    let url = format!("smtp://me:s3cret@localhost:{port}?requireTLS=true");
    let error = refused(&SmtpMailer::new(&url).unwrap(), mail()).await;
    assert!(error.contains("STARTTLS"), "{error}");
    assert!(sink.mails.try_recv().is_err());
    for conduct in [Conduct::StartTls, Conduct::Wrapped] {
        let mut sink = Sink::start(conduct).await;
        let url = match conduct {
            Conduct::StartTls => {
                format!("smtp://me:s3cret@localhost:{}?requireTLS=true", sink.port)
            }
            _ => format!("smtps://me:s3cret@localhost:{}", sink.port),
        };
        let error = refused(&SmtpMailer::new(&url).unwrap(), mail()).await;
        assert!(error.contains("certificate"), "nobody vouches for it: {error}");
        let of_another = url.replace("localhost", "127.0.0.1");
        let error = refused(&trusting(&of_another, &sink.certificate), mail()).await;
        assert!(error.contains("certificate"), "it is for another host: {error}");
        trusting(&url, &sink.certificate).send(mail()).await.unwrap();
        let (said, _) = sink.mail().await;
        assert!(said.iter().any(|line| line.starts_with("AUTH")), "{said:?}");
        assert!(sink.mails.try_recv().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up() {
    let sink = Sink::start(Conduct::Silent).await;
    let mailer = SmtpMailer::new(&format!("smtp://127.0.0.1:{}", sink.port)).unwrap();
    // Those that have no turn wait no longer than the others.
    let all = (0..AT_ONCE_MAX + 3).map(|_| refused(&mailer, mail()));
    for error in futures::future::join_all(all).await {
        let text = format!("a mail was not sent by 127.0.0.1:{}: not within 30 seconds", sink.port);
        assert_eq!(error, text);
    }
}

#[tokio::test]
async fn a_mailer_can_be_made_before_the_runtime() {
    let mailer = std::thread::spawn(|| SmtpMailer::new("smtp://127.0.0.1:1")).join().unwrap();
    assert!(refused(&mailer.unwrap(), mail()).await.contains("127.0.0.1:1"));
}
