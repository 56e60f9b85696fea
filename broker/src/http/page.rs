//! The web page to try a channel with, the JavaScript client that it uses, and the description of the API: static files of `broker/assets`,
//! `broker/clients/js` and `docs`, compiled into the binary, served under a strict content security policy.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::{Answer, empty, full};

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The link to the description of the API (RFC 8631), relative to the page.
const SERVICE_DESCRIPTION: &str = "<openapi.yaml>; rel=\"service-desc\"; type=\"application/yaml\"";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the page or the client.
pub(super) struct File {
    /// Its path below `/`.
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
    /// A hash of the text.
    etag: HeaderValue,
}

macro_rules! files {
    ($($name:literal => $file:literal, $content_type:expr;)*) => {
        LazyLock::new(|| {
            vec![$(File::new($name, $content_type, include_str!(concat!("../../assets/", $file)))),*]
        })
    };
}

static FILES: LazyLock<Vec<File>> = files! {
    "" => "index.html", "text/html; charset=utf-8";
    "openapi.yaml" => "../../docs/openapi.yaml", "application/yaml";
    "page.css" => "page.css", "text/css; charset=utf-8";
    "page.js" => "page.js", JAVASCRIPT;
    "page-access.js" => "page-access.js", JAVASCRIPT;
    "page-api.js" => "page-api.js", JAVASCRIPT;
    "page-channel.js" => "page-channel.js", JAVASCRIPT;
    "page-chart.js" => "page-chart.js", JAVASCRIPT;
    "page-credential.js" => "page-credential.js", JAVASCRIPT;
    "page-demo.js" => "page-demo.js", JAVASCRIPT;
    "page-dom.js" => "page-dom.js", JAVASCRIPT;
    "page-grant.js" => "page-grant.js", JAVASCRIPT;
    "page-history.js" => "page-history.js", JAVASCRIPT;
    "page-pane.js" => "page-pane.js", JAVASCRIPT;
    "page-rows.js" => "page-rows.js", JAVASCRIPT;
    "page-send.js" => "page-send.js", JAVASCRIPT;
    "page-stats.js" => "page-stats.js", JAVASCRIPT;
    "page-watch.js" => "page-watch.js", JAVASCRIPT;
    "client/credential.js" => "../clients/js/credential.js", JAVASCRIPT;
    "client/delivery.js" => "../clients/js/delivery.js", JAVASCRIPT;
    "client/event-source.js" => "../clients/js/event-source.js", JAVASCRIPT;
    "client/fetch-stream.js" => "../clients/js/fetch-stream.js", JAVASCRIPT;
    "client/index.js" => "../clients/js/index.js", JAVASCRIPT;
    "client/parser.js" => "../clients/js/parser.js", JAVASCRIPT;
    "client/problem.js" => "../clients/js/problem.js", JAVASCRIPT;
    "client/react.js" => "../clients/js/react.js", JAVASCRIPT;
    "client/remember.js" => "../clients/js/remember.js", JAVASCRIPT;
    "client/share.js" => "../clients/js/share.js", JAVASCRIPT;
    "client/stream.js" => "../clients/js/stream.js", JAVASCRIPT;
};

/// The file at `/<name>`, if it is part of the page or the client.
pub(super) fn find(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

impl File {
    fn new(name: &'static str, content_type: &'static str, text: &'static str) -> Self {
        let hash = Sha256::digest(text);
        let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::try_from(format!("\"{digits}\""));
        Self { name, content_type, text, etag: etag.unwrap_or(HeaderValue::from_static("\"\"")) }
    }

    /// The file, or `304` if the client has it.
    pub(super) fn answer(&self, request: &HeaderMap) -> Response<Answer> {
        let mut known = request.get_all(header::IF_NONE_MATCH).iter();
        let known = known.any(|list| is_in(list, &self.etag));
        let mut response = Response::new(if known { empty() } else { full(self.text) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let set = HeaderValue::from_static;
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::CACHE_CONTROL, set("no-cache"));
        headers.insert(header::CONTENT_SECURITY_POLICY, set(CONTENT_SECURITY_POLICY));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, set("nosniff"));
        headers.insert(header::REFERRER_POLICY, set("no-referrer"));
        if !known {
            headers.insert(header::CONTENT_TYPE, set(self.content_type));
        }
        if self.name.starts_with("client/") {
            // Pages of any origin may import the client; what they may do with it is up to the channel.
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, set("*"));
        }
        if self.name.is_empty() {
            headers.insert(header::LINK, set(SERVICE_DESCRIPTION));
        }
        response
    }
}

/// Whether `If-None-Match` lists `etag`. The comparison is weak: a proxy that compresses makes the tag a weak one (RFC 9110,
/// section 13.1.2).
fn is_in(list: &HeaderValue, etag: &HeaderValue) -> bool {
    let (list, etag) = (list.to_str().unwrap_or_default(), etag.to_str().unwrap_or_default());
    list.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The quoted paths in all files of the page and the client that begin with `start`.
    fn references(start: &str) -> Vec<&'static str> {
        let code = FILES.iter().filter(|file| file.name != "openapi.yaml");
        let quoted = code.flat_map(|file| file.text.split(['"', '\'']));
        quoted.filter_map(|path| path.strip_prefix(start)).collect()
    }

    #[test]
    fn every_asset_is_served_and_every_reference_exists() {
        let broker = env!("CARGO_MANIFEST_DIR");
        for (folder, below) in [("assets", ""), ("clients/js", "client/")] {
            for entry in std::fs::read_dir(format!("{broker}/{folder}")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let path = if name == "index.html" { "" } else { &*name };
                let served = find(&format!("{below}{path}")).is_some();
                let needed = folder == "assets" || name.ends_with(".js");
                assert_eq!(served, needed, "{folder}/{name}");
            }
        }
        for name in references("./page") {
            assert!(find(&format!("page{name}")).is_some(), "page{name}");
        }
        for name in references("./client/") {
            assert!(find(&format!("client/{name}")).is_some(), "{name}");
        }
        let of_client = FILES.iter().filter(|file| file.name.starts_with("client/"));
        let quoted = of_client.flat_map(|file| file.text.split('"'));
        for name in quoted.filter_map(|quoted| quoted.strip_prefix("./")) {
            assert!(find(&format!("client/{name}")).is_some(), "{name}");
        }
    }

    #[test]
    fn a_client_that_has_a_file_does_not_get_it_again() {
        let file = find("page.js").unwrap();
        let first = file.answer(&HeaderMap::new());
        let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        let again = |tag: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
            file.answer(&headers).status()
        };
        for tag in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".into()] {
            assert_eq!(again(&tag), 304, "{tag}");
        }
        assert_eq!((first.status(), again("\"other\"")), (StatusCode::OK, StatusCode::OK));
    }

    #[test]
    fn the_page_obeys_its_content_security_policy() {
        let html = FILES[0].text;
        for bad in [
            " style=",
            "<style",
            "onclick=",
            "javascript:",
            "src=\"http",
            "href=\"http",
            "<script>",
        ] {
            assert!(!html.contains(bad), "{bad}");
        }
        for File { name, text, .. } in FILES.iter().filter(|f| f.content_type == JAVASCRIPT) {
            for bad in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"] {
                assert!(!text.contains(bad), "{bad} in {name}");
            }
        }
    }
}
