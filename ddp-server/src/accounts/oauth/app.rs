//! Where the application is: what a browser may be sent back to.

use url::Url;

/// The application's address, Meteor's `ROOT_URL`.
#[derive(Debug)]
pub(super) struct AppUrl {
    url: Url,
    /// Its path, `ROOT_URL_PATH_PREFIX`: empty, or without a slash at the end.
    prefix: String,
}

impl AppUrl {
    /// # Panics
    /// If it is no address by http or https.
    pub(super) fn new(root_url: &str) -> Self {
        let url = Url::parse(root_url).ok().filter(is_web);
        let url = url.unwrap_or_else(|| {
            panic!("ROOT_URL must be an address by http or https: {root_url:?}")
        });
        let prefix = url.path().trim_end_matches('/').to_owned();
        Self { url, prefix }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The path of a service's callback.
    pub(super) fn callback_path(&self, service: &str) -> String {
        format!("{}/_oauth/{service}", self.prefix)
    }

    /// What the provider sends the browser to: Meteor's `OAuth._redirectUri`.
    pub(super) fn callback(&self, service: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&self.callback_path(service));
        url.set_query(None);
        url.set_fragment(None);
        url
    }

    /// Where a login of its own begins.
    pub(super) fn start(&self, service: &str) -> String {
        format!("{}/start", self.callback(service))
    }

    /// Where the browser goes at the end: where the client wants, if that is within the application,
    /// else to the application.
    pub(super) fn destination(&self, wanted: Option<&str>) -> String {
        let wanted = wanted.and_then(|wanted| Url::parse(wanted).ok());
        let own = wanted.filter(|url| is_web(url) && url.origin() == self.url.origin());
        own.map_or_else(|| self.url.to_string(), |url| url.to_string())
    }
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_to_the_application_only() {
        let app = AppUrl::new("https://app.example/chat/");
        let own = "https://app.example/chat/rooms?a=1&b=2#x";
        assert_eq!(app.destination(Some(own)), own);
        for elsewhere in [
            "https://evil.example/chat/",
            "https://app.example.evil.example/chat/",
            "https://app.example@evil.example/",
            "https://someone@app.example/",
            "https://app.example:8443/",
            "http://app.example/chat/",
            "//evil.example/",
            "/\\evil.example",
            "javascript:alert(1)//https://app.example/chat/",
            "data:text/html,x",
            "",
        ] {
            assert_eq!(
                app.destination(Some(elsewhere)),
                "https://app.example/chat/",
                "{elsewhere}"
            );
        }
        assert_eq!(app.destination(None), "https://app.example/chat/");
    }

    #[test]
    fn callbacks_are_below_the_path_of_the_application() {
        let app = AppUrl::new("https://app.example/chat/");
        assert_eq!(app.callback("google").as_str(), "https://app.example/chat/_oauth/google");
        let app = AppUrl::new("http://localhost:3000");
        assert_eq!(app.callback("google").as_str(), "http://localhost:3000/_oauth/google");
        assert_eq!(app.prefix(), "");
    }
}
